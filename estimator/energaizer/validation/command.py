"""The command `energaizer validate`: what a person types, progress, files, exit code."""

import time
from pathlib import Path
from typing import Any

import click

from energaizer.output import write

_NO_ESTIMATE = 3
_EVERY_S = 2.0
_SUFFIXES = {".json": "json", ".md": "markdown"}
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("path", type=_FILE)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "markdown"]),
    help="Format; table by default.",
)  # fmt: skip
@click.option("--by", metavar="COLUMNS", help="Group rows by these columns: gpu,model,precision.")
@click.option(
    "--labels", type=click.Choice(["raw", "corrected"]), default="raw", show_default=True,
    help="As recorded, or without what the recording is known to add.",
)  # fmt: skip
@click.option("--rows", type=_FILE, metavar="FILE", help="Write every prediction to a CSV FILE.")
@click.option(
    "--baselines-from", "other", type=_FILE, metavar="PATH",
    help="Take the constants of the baselines from other tables.",
)  # fmt: skip
@click.option(
    "--out", type=_FILE, metavar="FILE", help="Write to FILE; its suffix names the format."
)
def validate(path: Path, **options: Any) -> int:
    """Score the shipped model against measured tables of a file or folder PATH.

    Tables are recognised by their columns: forward passes on one GPU, single kernels, serving runs.
    Errors of time, power and energy stand beside trivial baselines and the coverage of the
    intervals. Measured columns are never an input of a prediction.

    \b
    energaizer validate measurements.csv
    energaizer validate tables/ --by gpu,model -o json --out scores.json
    energaizer validate measurements.csv --labels corrected --rows rows.csv
    energaizer validate mine.csv --baselines-from theirs.csv
    """
    try:
        from energaizer import tables
        from energaizer.validation import report, run
    except ImportError as error:
        raise click.ClickException(
            f"tables need {error.name}; install it with: pip install energaizer[calibration]"
        ) from error

    outcome = run.validate(path, options["labels"], options["other"], _Progress())
    by = [name.strip() for name in (options["by"] or "").split(",") if name.strip()]
    lines = report.lines_of(outcome, by)
    out: Path | None = options["out"]
    chosen = options["output"] or _SUFFIXES.get(out.suffix.lower() if out else "", "table")
    if chosen == "json":
        text = tables.as_json(report.as_json(outcome, lines))
    else:
        document = report.document(outcome, lines)
        text = tables.as_text(document) if chosen == "table" else tables.as_markdown(document)
    if options["rows"] is not None:
        write(options["rows"], report.rows_frame(outcome).to_csv(index=False), "--rows")
    if out is None:
        click.echo(text, nl=False)
    else:
        write(out, text, "--out")
    asked = [table.failed for table in outcome.tables]
    return _NO_ESTIMATE if asked and not any((failed == "").any() for failed in asked) else 0


class _Progress:
    """Says now and then on stderr how far a long table is."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, dataset: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            click.echo(f"{dataset}: {done} of {total} rows", err=True)
