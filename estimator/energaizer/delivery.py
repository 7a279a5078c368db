"""An answer to the terminal or a file, in the format that was asked for."""

from pathlib import Path
from typing import Any, Final

import click

from energaizer import tables
from energaizer.output import write
from energaizer.tables import Document

_SUFFIXES: Final = {".json": "json", ".csv": "csv", ".md": "markdown"}


def deliver(
    options: dict[str, Any], full: Any, records: list[dict[str, Any]], document: Document
) -> None:
    """Write an answer: in full (JSON), flat (CSV) or for a person.

    Args:
        options: `out`, a file, and `output`, a format; the suffix of the file names it, too.
        full: For a program.
        records: One a row.
        document: For a person.
    """
    path: Path | None = options["out"]
    chosen = options["output"] or _SUFFIXES.get(path.suffix.lower() if path else "", "table")
    if chosen == "json":
        text = tables.as_json(full)
    elif chosen == "csv":
        text = tables.as_csv(records)
    else:
        text = tables.as_text(document) if chosen == "table" else tables.as_markdown(document)
    if path is None:
        click.echo(text, nl=False)
    else:
        write(path, text)
