"""`python -m energaizer.calibration fit DATA | report DATA`: profiles and accuracy tables."""

from datetime import date
from pathlib import Path

import click

PROFILES = Path(__file__).parent.parent / "profiles"
FOLDERS = ("calibrations", "hosts", "kernels")
STAGES = ("boards", "libraries", "diffusion")
"""Of a fit; each rests on what the stages before it wrote."""


@click.group()
def main() -> None:
    """Fit coefficients to measured tables, and report how well they predict."""


@main.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--profiles", default=PROFILES, type=click.Path(path_type=Path), show_default=True,
              help="Folder whose calibrations/, hosts/ and kernels/ are written.")  # fmt: skip
@click.option("--date", "today", default=None, type=click.DateTime(["%Y-%m-%d"]),
              help="Date of the fit, for the files; default: today.")  # fmt: skip
@click.option("--only", "stages", multiple=True, type=click.Choice(STAGES),
              help="A stage, on what --profiles (else the package) holds of those before; "
              "default: all.")  # fmt: skip
def fit(data: Path, profiles: Path, today: date | None, stages: tuple[str, ...]) -> None:
    """Fit the tables in DATA and write every profile that ships: the same tables, the same files.

    Stages, in order: boards (with the hosts of serving and of forward passes), libraries of their
    kernels, and the host of diffusion.
    """
    from datetime import UTC, datetime

    from energaizer.calibration import diffusion_fit, library_fit, shipped

    day = today or datetime.now(UTC)
    when = date(day.year, day.month, day.day)
    writers = dict(
        zip(STAGES, (shipped.write, library_fit.write, diffusion_fit.write), strict=True)
    )
    for folder in FOLDERS:
        (profiles / folder).mkdir(parents=True, exist_ok=True)
    for stage, write in writers.items():
        if not stages or stage in stages:
            for name in write(data, profiles, when):
                click.echo(name)


@main.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", default=None, type=click.Path(path_type=Path),
              help="File to write, its figures in a folder beside it; default: print.")  # fmt: skip
def report(data: Path, output: Path | None) -> None:
    """Score predictions of families, clocks, shapes and GPUs left out of the tables in DATA."""
    from energaizer.calibration import report as tables

    if output is None:
        click.echo(tables.markdown(data))
    else:
        text = tables.markdown(data, output.with_suffix(""))
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
