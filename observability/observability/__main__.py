"""`python -m observability`: write, check or draw."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Dashboards as code, their pictures, and the pages of metrics, alerts and settings."""


@main.command()
def write() -> None:
    """Write the dashboards, docs/metrics.md, docs/alerts.md and docs/settings.md anew."""
    from observability.pages import pages

    for path, text in pages():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@main.command()
def check() -> None:
    """Fail if a generated file differs from its source."""
    from observability.pages import pages

    stale = [str(path) for path, text in pages() if not path.exists() or path.read_text() != text]
    if stale:
        click.echo(f"differs from its source: {', '.join(stale)}; run: make dashboards", err=True)
        sys.exit(1)


@main.command()
@click.argument("prometheus")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/dashboards"))
@click.option("--minutes", default=15, show_default=True, help="How far back.")
@click.option("--set", "chosen", multiple=True, metavar="NAME=VALUE", help="Value of a variable.")
def draw(prometheus: str, out: Path, minutes: int, chosen: tuple[str, ...]) -> None:
    """Draw each dashboard's panels from the Prometheus at URL into a picture."""
    from observability.drawing import draw_all

    pairs = [one.partition("=") for one in chosen]
    if bare := [name for name, equals, _ in pairs if not equals]:
        raise click.BadParameter(f'"{bare[0]}" is no NAME=VALUE', param_hint="--set")
    values = {name: value for name, _, value in pairs}
    try:
        for path in draw_all(prometheus, out, minutes, values):
            click.echo(path)
    except OSError as error:
        message = f"{prometheus}: {error}; give the URL of a Prometheus"
        raise click.ClickException(message) from error


@main.command()
@click.option("--workloads", default=1000, show_default=True)
@click.option("--candidates/--no-candidates", default=True, show_default=True)
@click.option("--seconds", default=90, show_default=True, help="How long to look.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for pictures.")
def crowd(workloads: int, seconds: int, out: Path | None, *, candidates: bool) -> None:
    """Let a real Prometheus scrape a made-up crowd of workloads: what it takes, how it looks."""
    import tempfile
    import time

    from observability.crowd import Crowd, cost, watched
    from observability.drawing import draw_all

    made = Crowd(workloads, candidates=candidates)
    with tempfile.TemporaryDirectory() as folder, watched(made, Path(folder)) as prometheus:
        time.sleep(seconds)
        told = cost(prometheus, seconds)
        click.echo(
            f"{told['series']:.0f} series; a scrape takes {told['median']:.3f} s (median),"
            f" {told['longest']:.3f} s (longest)"
        )
        if out is not None:
            for path in draw_all(prometheus.url, out, seconds / 60, {}):
                click.echo(path)


if __name__ == "__main__":
    main()
