"""The two processes of the operator, as one command with two subcommands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from energaizer_operator.settings import Settings, SettingsError
from energaizer_operator.terminal import BAD_INPUT, ENVIRONMENT_FAILED, fail

_OPTIONS = (
    click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Kubeconfig of our account; else ENERGAIZER_OPERATOR_KUBECONFIG, else the pod's "
        "own account, else KUBECONFIG.",
    ),
    click.option("--context", help="Context within the kubeconfig; else its current one."),
    click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of a log line."),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Least level that is logged.",
    ),
)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every process has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="energaizer", message="%(prog)s %(version)s")
def main() -> None:
    """State what AI workloads will take before they run, and act on it in a cluster.

    Every setting is also an environment variable ENERGAIZER_OPERATOR_<SETTING>; docs/settings.md
    lists them.
    """


@main.command()
@_common
def controller(**options: Any) -> None:
    """Run the controller: one replica leads, estimates, and writes statuses."""
    from energaizer_operator.cluster import ClusterError
    from energaizer_operator.controller import app
    from energaizer_operator.lease import LeadershipLost

    _run(app.run, options, (ClusterError, LeadershipLost))


@main.command()
@_common
def webhook(**options: Any) -> None:
    """Run the webhook: every replica answers the API server's questions."""
    from energaizer_operator.cluster import ClusterError
    from energaizer_operator.webhook import process

    _run(process.run, options, (ClusterError,))


@main.command()
@_common
def install_profiles(**options: Any) -> None:
    """Apply the built-in GPUs as GPUProfiles, once; what others changed in one of them stays."""
    from energaizer_operator import installation
    from energaizer_operator.cluster import ClusterError

    _run(installation.install_profiles, options, (ClusterError,))


@main.command()
@click.option("--deployment", required=True, help="Name of the controller's Deployment.")
@_common
def retire(deployment: str, **options: Any) -> None:
    """Before an uninstall: stop the controller and take our finalizer off every reservation.

    What budgets hold for work that has not ended is not settled, but told.
    """
    from energaizer_operator import installation
    from energaizer_operator.cluster import ClusterError

    async def tell(settings: Settings) -> None:
        for line in await installation.retire(settings, deployment):
            click.echo(line)

    _run(tell, options, (ClusterError,))


@main.command()
@_common
def check(**options: Any) -> None:
    """Say whether what is installed works: profiles, a leader, a refusal through the API server."""
    from energaizer_operator import installation
    from energaizer_operator.cluster import ClusterError

    async def tell(settings: Settings) -> None:
        for line in await installation.check(settings):
            click.echo(f"ok: {line}")

    _run(tell, options, (ClusterError, installation.CheckFailed))


def _run(
    process: Callable[[Settings], Coroutine[Any, Any, None]],
    options: dict[str, Any],
    failures: tuple[type[Exception], ...],
) -> None:
    """Run one process to its end; say in one line why it cannot."""
    from energaizer_operator import logs

    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings.from_environment(**given)
    except SettingsError as error:
        fail(str(error), BAD_INPUT)
    logs.set_up(settings.log_format, settings.log_level)
    try:
        _run_loop(process(settings))
    except failures as error:
        fail(str(error), ENVIRONMENT_FAILED)
    except OSError as error:  # of a port: what concerns the cluster is a ClusterError
        fail(f"cannot listen: {error}; choose another port", ENVIRONMENT_FAILED)


def _run_loop(process: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, which does TLS in C; where there is none (Windows), on asyncio."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(process)
    else:
        uvloop.run(process)


if __name__ == "__main__":
    main()
