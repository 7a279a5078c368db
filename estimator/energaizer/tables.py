"""Tables as aligned text, Markdown, CSV or JSON, whatever they hold.

A table is plain text, the same in a terminal, a pipe and a log.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

_GAP = "  "
_WIDTH = 96
Row = tuple[str, ...]


class Table(NamedTuple):
    """Rows under headings; a heading that starts with `>` aligns its column to the right."""

    headings: Row
    rows: Sequence[Row]
    title: str = ""


class Document(NamedTuple):
    """What one command prints for a person: a heading, tables, then remarks."""

    heading: str
    tables: tuple[Table, ...]
    subheading: str = ""
    remarks: tuple[str, ...] = ()


def as_text(document: Document) -> str:
    """Return the document as aligned plain text."""
    lines = (document.heading, *map(_wrapped, document.subheading.splitlines()))
    parts = [part for part in lines if part]
    blocks = ["\n".join(parts)] if parts else []
    blocks += [_aligned(table) for table in document.tables]
    if document.remarks:
        blocks.append("\n".join(_wrapped(remark) for remark in document.remarks))
    return "\n\n".join(blocks) + "\n"


def as_markdown(document: Document) -> str:
    """Return the document as Markdown with pipe tables."""
    blocks = [f"## {_escaped(document.heading)}"] if document.heading else []
    head = document.subheading.splitlines()
    blocks += ["  \n".join(map(_escaped, head))] if head else []
    for table in document.tables:
        rules = tuple("---:" if name.startswith(">") else "---" for name in table.headings)
        names = tuple(name.removeprefix(">") for name in table.headings)
        lines = ["| " + " | ".join(row) + " |" for row in (names, rules)]
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in table.rows]
        blocks.append((f"**{table.title}**\n\n" if table.title else "") + "\n".join(lines))
    if document.remarks:
        blocks.append("\n".join(f"- {_escaped(remark)}" for remark in document.remarks))
    return "\n\n".join(blocks) + "\n"


def as_csv(records: Iterable[dict[str, Any]]) -> str:
    """Return flat records as CSV with a header; what a record lacks stays empty."""
    import csv  # noqa: PLC0415 (only this form needs it)
    import io  # noqa: PLC0415

    rows = list(records)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_json(content: Any) -> str:
    """Return JSON of standard form: NaN and infinity, which it lacks, are an error."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _aligned(table: Table) -> str:
    names = tuple(name.removeprefix(">") for name in table.headings)
    right = [name.startswith(">") for name in table.headings]
    body = [*([names] if any(names) else []), *table.rows]
    widths = [max(len(row[column]) for row in body) for column in range(len(names))]
    lines = [table.title] if table.title else []
    for row in body:
        cells = zip(row, widths, right, strict=True)
        line = _GAP.join(
            cell.rjust(width) if end else cell.ljust(width) for cell, width, end in cells
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def _wrapped(remark: str) -> str:
    """Break a remark at spaces; what follows the first line is indented."""
    lines, line = [], ""
    for word in remark.split():
        if line and len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = " " + word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
