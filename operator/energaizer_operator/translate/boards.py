"""GPUProfile <-> Gpu: the cluster's description of a board and the estimator's.

A profile named like a GPU of the catalogue is that GPU, with its coefficients; what the profile
states otherwise (a lower power limit, say) wins. Any other profile becomes a Gpu of its own, and
what a profile cannot state (cache sizes, say) is taken from its closest relative in the catalogue.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from energaizer import catalog
from energaizer.caches import remembered
from energaizer.errors import UnknownNameError
from energaizer.gpu import Gpu
from energaizer_operator.identity import Identity
from energaizer_operator.resources.gpuprofile import (
    GPUProfile,
    GPUProfileSpec,
    Interconnect,
    PeakGigaflops,
    PowerCapRange,
)
from energaizer_operator.schema import Metadata

MEGA, GIGA = 10**6, 10**9
MAX_CLOCKS = 64
ROUNDED = 0.005  # datasheets print three digits
_CLOCKS = ("min_clock_hz", "max_clock_hz")
_RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu", "Intel": "gpu.intel.com/i915"}
_PREFIXES = ("NVIDIA ", "Tesla ", "AMD Instinct ", "AMD ")


@dataclass(frozen=True)
class Board:
    """A Gpu, and what its profile does not say."""

    gpu: Gpu
    missing: tuple[str, ...] = ()
    """Fields of the profile without which no honest estimate exists."""
    notes: tuple[str, ...] = ()


@remembered(512)
def board(profile: GPUProfile) -> Board:
    """Return the board that a profile describes."""
    return _board(profile.metadata.name, profile.spec.model_dump_json())


@lru_cache(maxsize=512)
def _board(name: str, spec_json: str) -> Board:
    spec = GPUProfileSpec.model_validate_json(spec_json)
    try:
        known = catalog.gpu(name)
    except UnknownNameError:
        return _own(name, spec)
    changes = _differences(spec, known)
    if not changes:
        return Board(known)
    note = f"{name}: the GPUProfile states other {', '.join(sorted(changes))} than the catalogue"
    return Board(_changed(known, changes), notes=(note,))


def profile_of(gpu: Gpu, identity: Identity | None = None) -> GPUProfile:
    """Return the manifest of a GPU of the catalogue.

    Args:
        gpu: A GPU.
        identity: How nodes show it; None: by the names that its driver reports.
    """
    identity = identity or _identity(gpu)
    floor = gpu.min_power_limit_w or gpu.power_limit_w
    spec = GPUProfileSpec(
        vendor=gpu.vendor,
        architecture=gpu.architecture,
        resource_names=identity.resource_names,
        product_names=identity.product_names,
        device_ids=identity.device_ids,
        device_product_names=identity.device_product_names,
        node_selector_terms=identity.node_selector_terms,
        thermal_design_power_watts=_watts(gpu.power_limit_w),
        power_cap_range=PowerCapRange(min_watts=_watts(floor), max_watts=_watts(gpu.power_limit_w)),
        memory_bytes=round(gpu.memory_bytes),
        memory_bandwidth_bytes_per_second=round(gpu.memory_bandwidth),
        compute_units=gpu.compute_units,
        peak_gigaflops=PeakGigaflops(**_gigaflops(gpu)),
        supported_clocks_megahertz=_clocks(gpu),
        interconnect=Interconnect(
            type=gpu.link.kind, bandwidth_bytes_per_second=round(gpu.link.bandwidth)
        ),
        partitions=identity.partitions,
    )
    return GPUProfile(metadata=Metadata(name=gpu.name), spec=spec)


def _differences(spec: GPUProfileSpec, known: Gpu) -> dict[str, Any]:
    """Return the fields of `Gpu` that a profile states otherwise.

    A figure that a datasheet rounds is no difference. Neither are clocks: a profile lists some that
    may be locked, while the board itself still moves between its own ends.
    """
    stated, usual = _fields(spec), _fields(profile_of(known).spec)
    changed = {
        key: value
        for key, value in stated.items()
        if key not in _CLOCKS and not _same(value, usual.get(key))
    }
    if "peak_flops" in changed:
        changed["peak_flops"] = {**known.peak_flops, **changed["peak_flops"]}
    return changed


def _same(stated: Any, usual: Any) -> bool:
    if isinstance(stated, dict):
        return isinstance(usual, dict) and all(
            _same(value, usual.get(key)) for key, value in stated.items()
        )
    if isinstance(stated, float) and isinstance(usual, float):
        return math.isclose(stated, usual, rel_tol=ROUNDED)
    return bool(stated == usual)


def _fields(spec: GPUProfileSpec) -> dict[str, Any]:
    """Return the fields of `Gpu` that a profile states, in SI."""
    clocks = sorted(spec.supported_clocks_megahertz)
    peaks = spec.peak_gigaflops.model_dump(exclude_none=True) if spec.peak_gigaflops else {}
    caps, link = spec.power_cap_range, spec.interconnect
    stated: dict[str, Any] = {
        "vendor": spec.vendor,
        "architecture": spec.architecture,
        "power_limit_w": float(spec.thermal_design_power_watts),
        "min_power_limit_w": float(caps.min_watts) if caps else None,
        "memory_bytes": _float(spec.memory_bytes),
        "memory_bandwidth": _float(spec.memory_bandwidth_bytes_per_second),
        "compute_units": spec.compute_units,
        "peak_flops": {rate: float(peak * GIGA) for rate, peak in peaks.items()} or None,
        "min_clock_hz": float(clocks[0] * MEGA) if clocks else None,
        "max_clock_hz": float(clocks[-1] * MEGA) if clocks else None,
        "link": {"kind": link.type, "bandwidth": float(link.bandwidth_bytes_per_second)}
        if link
        else None,
    }
    return {key: value for key, value in stated.items() if value is not None}


def _changed(gpu: Gpu, changes: Mapping[str, Any]) -> Gpu:
    """Return a Gpu with other fields, its clocks and limits kept in order."""
    fields = gpu.model_dump() | dict(changes)
    clocks = sorted((fields["min_clock_hz"], fields["max_clock_hz"]))
    fields["min_clock_hz"], fields["max_clock_hz"] = clocks
    fields["reference_clock_hz"] = min(max(fields["reference_clock_hz"], clocks[0]), clocks[1])
    if fields["min_power_limit_w"] is not None:
        fields["min_power_limit_w"] = min(fields["min_power_limit_w"], fields["power_limit_w"])
    return Gpu.model_validate(fields)


def _own(name: str, spec: GPUProfileSpec) -> Board:
    stated = _fields(spec)
    relative = _relative(spec)
    needed = {
        "memoryBytes": "memory_bytes",
        "memoryBandwidthBytesPerSecond": "memory_bandwidth",
        "computeUnits": "compute_units",
        "peakGigaflops": "peak_flops",
    }
    missing = tuple(key for key, field in needed.items() if field not in stated)
    own = {
        "name": name,
        "aliases": (),
        "product_names": (),
        "voltage": None,
        "notes": (),
        "min_power_limit_w": None,
        "source": {"citation": f"GPUProfile {name}", "date": relative.source.date},
    }
    if "max_clock_hz" in stated:
        own["reference_clock_hz"] = stated["max_clock_hz"]
    note = f"{name} is not in the catalogue: caches and what else it leaves out as {relative.name}"
    return Board(_changed(relative, own | stated), missing, (note,))


def _relative(spec: GPUProfileSpec) -> Gpu:
    """Return the GPU of the catalogue that is most like a profile."""
    bandwidth = spec.memory_bandwidth_bytes_per_second

    def distance(gpu: Gpu) -> tuple[bool, bool, float, str]:
        away = abs(math.log(gpu.memory_bandwidth / bandwidth)) if bandwidth else 0.0
        return gpu.vendor != spec.vendor, gpu.architecture != spec.architecture, away, gpu.name

    return min(catalog.gpus(), key=distance)


def _identity(gpu: Gpu) -> Identity:
    names = gpu.product_names or (gpu.name,)
    bare = [_bare(name).replace(" ", "-").replace("(", "").replace(")", "") for name in names]
    return Identity(
        resource_names=(_RESOURCES[gpu.vendor],),
        product_names=tuple(dict.fromkeys(name[:63] for name in bare)),
        device_product_names=tuple(dict.fromkeys(names)),
    )


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _gigaflops(gpu: Gpu) -> dict[str, int]:
    return {str(rate): round(peak / GIGA) for rate, peak in gpu.peak_flops.items()}


def _clocks(gpu: Gpu) -> tuple[int, ...]:
    """Return at most 64 clocks of the board's grid, both ends included, MHz, rising."""
    steps = round((gpu.max_clock_hz - gpu.min_clock_hz) / gpu.clock_step_hz)
    stride = max(1, math.ceil(steps / (MAX_CLOCKS - 1)))
    grid = [gpu.max_clock_hz - step * gpu.clock_step_hz for step in range(0, steps, stride)]
    return tuple(sorted({round(clock / MEGA) for clock in (gpu.min_clock_hz, *grid)}))


def _watts(power_w: float) -> int:
    return max(1, math.ceil(power_w))


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)
