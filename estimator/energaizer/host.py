"""What the machine around a GPU adds: time to launch kernels and to run a step of an engine.

Launch cost belongs to CPU, driver and framework, not to the GPU, so it has profiles of its own:
`profiles/hosts/*.json`. A framework may bring kernels of its own too, which reach another share of
a chip's peak than those that the GPU's coefficients were fitted on; they stand beside the costs.
"""

from typing import Literal, Self

from pydantic_core import ValidationError

from energaizer.caches import remembered
from energaizer.coefficients import Coefficients, Residual
from energaizer.errors import ProfileError
from energaizer.gpu import Gpu, Source
from energaizer.records import Field, Record
from energaizer.result import Provenance


class LaunchCost(Record):
    """Host time of one step, in seconds: parts that overlap with the GPU, and gaps that do not.

    `T = pn(T_gpu, launches launch_s + calls call_s + step_s + sequences sequence_s; 6) + gaps`
    (method, 2.8 and 6).
    """

    launch_s: float = Field(ge=0, description="per kernel launch [tau]")
    call_s: float = Field(default=0.0, ge=0, description="per call of a framework module")
    step_s: float = Field(ge=0, description="per step, overlapped [c0]")
    sequence_s: float = Field(default=0.0, ge=0, description="per running sequence, overlapped")
    gap_step_s: float = Field(default=0.0, ge=0, description="per step, the GPU waits")
    gap_sequence_s: float = Field(default=0.0, ge=0, description="per sequence, the GPU waits")
    gap_layer_s: float = Field(default=0.0, ge=0, description="per layer, the GPU waits")


class Reach(Record):
    """What a framework's kernels of one family reach; None: as on other frameworks."""

    family: str = Field(description="as in coefficients: gemm, attention-prefill, ...")
    compute_efficiency: float | None = Field(default=None, gt=0, description="of the FLOP peak")
    memory_efficiency: float | None = Field(default=None, gt=0, description="of the DRAM peak")
    energy_factor: float | None = Field(default=None, gt=0, description="dynamic energy, relative")
    toggle: float | None = Field(
        default=None, gt=0, description="energy of FLOP and L2 bytes, by the values of operands"
    )
    block_cycles: float | None = Field(
        default=None, ge=0, description="cycles an SM spends on a block beyond its work"
    )


class Kernels(Record):
    """Kernels of a framework on one architecture."""

    architecture: str = Field(description='of GPUs, in lower case; "default": of any other')
    families: tuple[Reach, ...]
    scales: tuple[tuple[str, float], ...] = Field(
        default=(), description="dotted paths of the GPU's own coefficients, and factors on them"
    )
    residuals: tuple[Residual, ...] = Field(
        default=(), description="spreads on what a fit did not see; empty: those of the GPU"
    )
    provenance: Provenance | None = Field(
        default=None, description="of those families; None: that of the GPU's own"
    )


class Host(Record):
    """A host profile: one cost for prompts, one for decode steps (often a replayed graph)."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    prefill: LaunchCost
    decode: LaunchCost
    log_sd: float = Field(default=0.7, ge=0, description="spread of ln(launch cost)")
    kernels: tuple[Kernels, ...] = Field(
        default=(), description="its own, where they differ from those of a serving engine"
    )
    source: Source

    @classmethod
    def loads(cls, text: str, where: str = "host") -> Self:
        """Read the JSON text of a host profile."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError.of(where, error) from error


@remembered(256)
def with_kernels(host: Host, gpu: Gpu, coefficients: Coefficients) -> Coefficients:
    """Return a GPU's coefficients with the kernels of a framework in place of others.

    Args:
        host: The framework.
        gpu: The board.
        coefficients: What was fitted about it.
    """
    known = {own.architecture: own for own in host.kernels}
    found = known.get(gpu.architecture.lower(), known.get("default"))
    if found is None:
        return coefficients
    tree = coefficients.model_dump(include={"families"})["families"]
    for reach in found.families:
        own = {name: value for name, value in reach if name != "family" and value is not None}
        before = tree.get(reach.family, {"provenance": Provenance.ANALYTICAL})
        told = {"provenance": found.provenance} if found.provenance else {}
        tree[reach.family] = {**before, **own, **told}
    fields: dict[str, object] = {"families": tree}
    if found.residuals:
        fields["residuals"] = found.residuals
    values = coefficients.values() if found.scales else {}
    scaled = {  # a board need not have every format
        path: values[path] * factor for path, factor in found.scales if path in values
    }
    return coefficients.with_values(scaled, **fields)
