"""`python -m energaizer.calibration fit DATA | report DATA`: profiles and accuracy tables."""

from datetime import date
from pathlib import Path

import click

PROFILES = Path(__file__).parent.parent / "profiles"


@click.group()
def main() -> None:
    """Fit coefficients to measured tables, and report how well they predict."""


@main.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--profiles",
    default=PROFILES,
    type=click.Path(path_type=Path),
    show_default=True,
    help="Folder whose calibrations/ and hosts/ are written.",
)
@click.option("--date", "today", default=None, type=click.DateTime(["%Y-%m-%d"]),
              help="Date of the fit, for the files; default: today.")  # fmt: skip
@click.option("--only-libraries", is_flag=True,
              help="Only kernels/, on the shipped coefficients.")  # fmt: skip
def fit(data: Path, profiles: Path, today: date | None, only_libraries: bool) -> None:
    """Fit every GPU of the tables in DATA and write its profile."""
    from datetime import UTC, datetime

    from energaizer.calibration import library_fit, shipped

    day = today or datetime.now(UTC)
    when = date(day.year, day.month, day.day)
    if not only_libraries:
        for name in shipped.write(data, profiles, when):
            click.echo(name)
    for name in library_fit.write(data, profiles, when):
        click.echo(name)


@main.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--profiles", default=PROFILES, type=click.Path(path_type=Path), show_default=True,
              help="Folder whose hosts/ is written.")  # fmt: skip
def diffusion(data: Path, profiles: Path) -> None:
    """Fit kernels and host of diffusion to DATA, on top of the GPUs' shipped coefficients."""
    from datetime import UTC, datetime

    from energaizer.calibration import diffusion_fit

    click.echo(diffusion_fit.write(data, profiles, datetime.now(UTC).date()))


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
