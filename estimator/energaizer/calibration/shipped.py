"""All profiles that a fit writes: which table stands behind which GPU, and what is carried."""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from energaizer import catalog
from energaizer.calibration import (
    anchors,
    boards,
    chips,
    dataset,
    heldout,
    kernel_fit,
    serving_ship,
)
from energaizer.calibration.boards import rounded
from energaizer.calibration.chips import Chip
from energaizer.coefficients import Coefficients
from energaizer.gpu import Source
from energaizer.host import Host, LaunchCost
from energaizer.result import Provenance

_TWINS = {"a100-pcie-40gb": ("a100-pcie-80gb",), "a100-sxm4-80gb": ("a100-sxm4-40gb",)}
"""Boards with the same chip and another memory: its coefficients hold, its memory's do not."""
_CHIPS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "l40s")


def write(data: Path, profiles: Path, today: date) -> Iterator[str]:
    """Fit everything, write `calibrations/*.json` and `hosts/*.json`, yield what was written."""
    pcie, a100 = _forward(data, ("a100", "a100_dvfs"), today)
    a10, a10_fit = _forward(data, ("a10",), today)
    for profile in (pcie, a10):
        yield _save(profiles, profile)
    yield _save_host(profiles, _host("pytorch-eager", a100.host, a10_fit.host, today))
    fitted = {name: chips.fit(data, name, a100.coefficients) for name in _CHIPS}
    for name in ("l40s", "a100_sxm"):
        profile = chips.profile(fitted[name], data, today, None, _notes(name))
        yield _save(profiles, profile)
        for twin in _TWINS.get(profile.gpu, ()):
            yield _save(profiles, _twin(profile, twin))
    yield from _served(data, profiles, today, fitted)
    for twin in _TWINS.get(pcie.gpu, ()):
        idle = boards.idle_of(data, "a100_80gb")
        yield _save(profiles, rounded(_twin(boards.with_idle(pcie, idle), twin)))


def _served(
    data: Path, profiles: Path, today: date, fitted: Mapping[str, Chip]
) -> Iterator[str]:  # fmt: skip
    """Write the boards that serving rows move, the engine's host and the H100's eager host."""
    alone = chips.kernels_alone(data, fitted, today)
    served = serving_ship.serve(data, alone)
    h100 = fitted["h100_sxm"].table
    held = kernel_fit.held_at_limit(h100, alone[h100.gpu.name])
    known = {**alone, h100.gpu.name: anchors.energies(data, "h100", alone[h100.gpu.name], held)}
    moved = serving_ship.boards(served, known)
    yield _save_host(profiles, serving_ship.host(served, moved, data, today))
    h200 = chips.profile(fitted["h200_sxm"], data, today, None, ())
    yield _save(
        profiles, serving_ship.sibling(fitted["h200_sxm"], h200, served, moved[h100.gpu.name])
    )
    b200 = fitted["b200_sxm"]
    sustained = serving_ship.profile(served, moved[b200.table.gpu.name], data, today)
    yield _save(profiles, serving_ship.with_warm_share(b200, sustained))
    sustained = serving_ship.profile(served, moved[h100.gpu.name], data, today)
    # Its own idle table stands: with the floor that serving counters fit, 4 W above it, passes that
    # wait for their host came out 6 % high, and serving is no better for it.
    tabled = {
        **sustained.model_dump(),
        "power": {**sustained.power.model_dump(), "held_idle_w": None},
    }
    anchored, host = anchors.apply(data, "h100", Coefficients.model_validate(tabled))
    yield _save(profiles, rounded(anchored))
    yield _save_host(profiles, _host("pytorch-eager-h100", host, host, today))


def _notes(name: str) -> tuple[str, ...]:
    if name == "l40s":
        return ("energies from the datasheet and priors: no power of this board was read",)
    if name == "a100_sxm":
        return (chips.CARRIED.format("a100-pcie-40gb"),)
    return ()


def _forward(
    data: Path, names: tuple[str, ...], today: date
) -> tuple[Coefficients, heldout.Fitted]:
    job = boards.job(data, names)
    full = heldout.fit_boards([board.sample for board in job.boards], job.setup)
    outcomes = heldout.leave_out(job.boards, job.setup, full)
    return boards.profile(job, full, outcomes, data, today), full


def _twin(profile: Coefficients, name: str) -> Coefficients:
    note = f"fitted on {profile.gpu}: the same chip with another memory"
    return Coefficients.model_validate(
        {
            **profile.model_dump(), "gpu": name, "provenance": Provenance.ANALYTICAL,
            "notes": (*profile.notes, note),
        }
    )  # fmt: skip


def _host(name: str, one: LaunchCost, other: LaunchCost, today: date) -> Host:
    def mean(field: str) -> float:
        pair = getattr(one, field), getattr(other, field)
        return float(f"{(pair[0] * pair[1]) ** 0.5:.4g}")

    cost = LaunchCost(launch_s=mean("launch_s"), call_s=mean("call_s"), step_s=mean("step_s"))
    return Host(
        name=name, prefill=cost, decode=cost, log_sd=0.2,
        source=Source(
            citation=f"fit of launch-bound forward passes, {dataset.SINGLE_GPU}: data of the "
            "EnergAIzer artifact (ISPASS 2026, MIT)",
            date=today.isoformat(), licence="Apache-2.0",
        ),
    )  # fmt: skip


def _save(profiles: Path, found: Coefficients) -> str:
    catalog.gpu(found.gpu)
    path = profiles / "calibrations" / f"{found.gpu}.json"
    path.write_text(found.dumps(), encoding="utf-8")
    return str(path)


def _save_host(profiles: Path, host: Host) -> str:
    path = profiles / "hosts" / f"{host.name}.json"
    path.write_text(host.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return str(path)
