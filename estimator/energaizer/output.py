"""Files of the command line: whole or not at all, so that a full disk leaves no half answer."""

from pathlib import Path

import click


def write(path: Path, text: str, option: str = "--out") -> None:
    """Write a file whole or not at all; a device or pipe is written as it is.

    Args:
        path: Where to.
        text: What.
        option: The option that named it, for the message.

    Raises:
        click.ClickException: It cannot be written.
    """
    import secrets  # noqa: PLC0415 (takes 2 ms, and most commands write no file)

    if not path.name:
        raise click.ClickException(f"cannot write to a file without a name; give {option} FILE")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_text(text, encoding="utf-8")
            return
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"cannot write {path}: {reason}; choose another {option}"
        ) from error
