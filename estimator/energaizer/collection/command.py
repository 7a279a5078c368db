"""The command `energaizer collect`: what a person types, progress, what to do with the tables."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from energaizer.collection.cases import Case

_SETS = click.Choice(["forward", "kernels", "all"])


@click.command()
@click.option(
    "--gpu-index",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Which GPU, as nvidia-smi counts.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="table.csv",
    show_default=True,
    metavar="FILE",
    help="Forward passes; others go beside it.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=5),
    default=30.0,
    show_default=True,
    metavar="S",
    help="How long each run counts, after its warm-up.",
)
@click.option("--set", "which", type=_SETS, default="forward", show_default=True, help="What runs.")
@click.option(
    "--clock",
    metavar="LIST",
    help="Clocks to hold, which needs root: 900MHz,1410MHz or 900MHz..1410MHz..90MHz.",
)
@click.option("--list", "listed", is_flag=True, help="Say what would run, and stop.")  # fmt: skip
def collect(out: Path, **options: Any) -> int:
    """Measure a standard set of workloads and kernels on a GPU at hand.

    Needs `pip install energaizer[collect]`, and torch and transformers of your own. Rows go to
    --out one by one: stop whenever you like, and the same command goes on. Then
    `energaizer validate` scores the shipped model on them, and `energaizer calibrate` fits yours.

    \b
    energaizer collect --list
    energaizer collect --out mine/table.csv
    sudo energaizer collect --out mine/table.csv --clock 900MHz,1410MHz --set all
    """
    from energaizer.collection import cases

    planned = tuple(cases.cases(options["which"]))
    clocks = _clocks(options["clock"])
    if options["listed"]:
        for case in planned:
            click.echo(str(case))
        runs = len(planned) * max(1, len(clocks))
        click.echo(f"{runs} runs of {options['seconds']:g} s after warming up", err=True)
        return 0
    return _collect(planned, clocks, out, options)


def _collect(
    planned: "tuple[Case, ...]", clocks: tuple[float, ...], out: Path, options: dict[str, Any]
) -> int:
    from energaizer.collection import nvml, session, store, torch_work
    from energaizer.collection.measuring import Time

    board = nvml.Board(options["gpu_index"])
    others = board.busy()
    if others:
        click.echo(f"{others} other processes use this GPU: their work is measured too", err=True)
    models = options["which"] != "kernels"
    framework = torch_work.Framework(board.uuid(), models=models)
    plan = session.Plan(planned, clocks, options["seconds"], out)
    outcome = session.collect(
        plan, board, framework.make, lambda line: click.echo(line, err=True),
        Time(time.monotonic, time.sleep),
    )  # fmt: skip
    click.echo(
        f"{outcome.measured} measured, {outcome.known} known already, {outcome.failed} left out; "
        f"{out}, {store.beside(out, 'idle')}"
    )
    if not models:
        return 0
    click.echo(
        f"next: energaizer calibrate {out} --idle {store.beside(out, 'idle')} --gpu NAME "
        "--out mine/calibrations/NAME.json"
    )
    return 0


def _clocks(text: str | None) -> tuple[float, ...]:
    from energaizer import arguments

    return tuple(hertz / 1e6 for hertz in arguments.clocks(text)) if text else ()
