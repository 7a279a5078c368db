"""The command `energaizer calibrate`: what a person types, files, and how to use them."""

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("data", type=_FILE)
@click.option("--gpu", required=True, metavar="NAME|FILE", help="The GPU: a name or JSON file.")
@click.option(
    "--out",
    required=True,
    type=_FILE,
    metavar="FILE",
    help="Profile to write; DIR/calibrations/NAME.json serves --profiles DIR at once.",
)
@click.option(
    "--idle",
    type=_FILE,
    metavar="FILE",
    help="Idle power by clock: columns gpu, sm_mhz, idle_w. A folder DATA may hold it.",
)
@click.option(
    "--start",
    default="auto",
    show_default=True,
    metavar="auto|prior|NAME",
    help="Begin at the nearest shipped fit, at the datasheet, or at that of NAME.",
)
@click.option(
    "--labels",
    type=click.Choice(["raw", "corrected"]),
    default="corrected",
    show_default=True,
    help="Without the start-up that a recording is known to hold, or as recorded.",
)
@click.option(
    "--host-out",
    type=_FILE,
    metavar="FILE",
    help="Write the launch cost of this host too: DIR/hosts/NAME.json.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Format of the report.",
)
@click.option("--profiles", type=_FILE, metavar="DIR", help="Your own gpus/.")  # fmt: skip
def calibrate(data: Path, gpu: str, out: Path, **options: Any) -> int:
    """Fit the coefficients of your own GPU to measurements in a file or folder DATA.

    DATA holds forward passes on one GPU, the table that `energaizer collect` writes and `validate`
    reads. A few dozen rows fit everything that they show; two rows, one launch-bound and one
    compute-bound, set scales. The report says how well it fits, models left out, and what the rows
    could not tell.

    \b
    energaizer calibrate table.csv --gpu a10 --out mine/calibrations/a10.json
    energaizer calibrate tables/ --gpu my-gpu.json --out profile.json -o json
    energaizer calibrate two-rows.csv --gpu l4 --idle idle.csv --out profile.json
    """
    try:
        from energaizer.tuning import fitting, measured, profile
    except ImportError as error:
        raise click.ClickException(
            f"a fit needs {error.name}; install it with: pip install energaizer[calibration]"
        ) from error
    from datetime import UTC, datetime

    from energaizer import catalog, tables
    from energaizer.output import write

    board = catalog.resolve_gpu(gpu, options["profiles"])
    begun = fitting.start(board, options["start"])
    found = measured.read(data, board, options["idle"])
    if found.idle is not None:
        coefficients = fitting.with_idle(begun.coefficients, board, found.idle)
    else:
        coefficients = begun.coefficients
    used = measured.rows(found, board, coefficients, options["labels"])
    result = fitting.fit(used.board, begun, found.idle)
    today = datetime.now(UTC).date()
    done = profile.finished(board, result, used, found, options["labels"], today)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, done.coefficients.dumps(), "--out")
    host: Path | None = options["host_out"]
    if host is not None:
        host.parent.mkdir(parents=True, exist_ok=True)
        write(host, done.host.model_dump_json(indent=2) + "\n", "--host-out")
    usage = profile.usage(done, out, gpu)
    if options["output"] == "json":
        click.echo(tables.as_json(profile.as_json(done, usage)), nl=False)
    else:
        click.echo(tables.as_text(profile.document(done, usage)), nl=False)
    return 0
