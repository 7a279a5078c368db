"""What the commands of `kubectl energaizer` share: formats, exit codes, a cluster to ask."""

import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

ENVIRONMENT_FAILED, BAD_INPUT, NO_ESTIMATE, REFUSED = 1, 2, 3, 4
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


NAMESPACE = click.option(
    "-n", "--namespace", help="Namespace; by default that of the kubeconfig's context."
)


def of_cluster(command: F) -> F:
    """Add what says which cluster is asked; the command gets it as the settings `asked`."""

    @click.option("--context", help="Context within the kubeconfig; by default its current one.")
    @click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Kubeconfig file; by default KUBECONFIG, else ~/.kube/config.",
    )
    @functools.wraps(command)
    def asking(
        *arguments: object, kubeconfig: Path | None, context: str | None, **more: object
    ) -> object:
        stated = {"kubeconfig": kubeconfig, "context": context}
        asked = {name: value for name, value in stated.items() if value is not None}
        return command(*arguments, asked=asked, **more)

    return asking  # type: ignore[return-value]


def options(*formats: str) -> Callable[[F], F]:
    """Return a decorator that adds -o with some formats, and --out."""

    def decorate(command: F) -> F:
        command = click.option(
            "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write to."
        )(command)
        return click.option(
            "-o",
            "--output",
            type=click.Choice(formats),
            default=formats[0],
            show_default=True,
            help="Format.",
        )(command)

    return decorate


def ask_cluster(ask: Callable[..., Coroutine[Any, Any, T]], asked: Mapping[str, object]) -> T:
    """Return what a cluster answers; end the process where there is none."""
    import asyncio

    from energaizer_operator.cluster import ClusterError
    from energaizer_operator.settings import Settings, SettingsError

    try:
        return asyncio.run(ask(Settings.from_environment(None, **asked)))
    except (ClusterError, SettingsError) as error:
        fail(str(error), ENVIRONMENT_FAILED)


def write(text: str, out: Path | None) -> None:
    """Write text to a file, or to standard output if there is none."""
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        fail(f"{out}: {error.strerror}", ENVIRONMENT_FAILED)


def complain(message: str) -> None:
    """Say something on standard error."""
    click.echo(message if message.startswith("note: ") else f"error: {message}", err=True)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong, and end the process with a code."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)
