"""GPUProfile: one kind of GPU, how to recognise it on a node, and its datasheet."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.schema import (
    AsList,
    AsMap,
    AsSet,
    Base,
    Clock,
    Column,
    Conditions,
    Count,
    Digest,
    LabelKey,
    LabelValue,
    ObjectName,
    Positive,
    Resource,
    Rule,
    unset,
)

BoardWatts = Annotated[int, Field(ge=1, le=10000)]
Permille = Annotated[int, Field(ge=1, le=1000)]
ErrorPermille = Annotated[int, Field(ge=0, le=10000)]
MAX_NAME = 63


class MatchExpression(Base):
    """One demand on a node's labels, in the shape of core node affinity."""

    rules: ClassVar = (
        Rule(
            "(self.operator == 'In') == (size(self.values) > 0)",
            "operator In needs values and Exists takes none",
            lambda expression: (expression.operator == "In") == (len(expression.values) > 0),
        ),
    )

    key: LabelKey = Field(description="Label key.")
    operator: Literal["In", "Exists"] = Field(description="How the label is compared.")
    values: Annotated[tuple[LabelValue, ...], AsList(16)] = Field(
        default=(), description="Values that match, for In."
    )


class NodeSelectorTerm(Base):
    """Demands that must all be met; several terms are alternatives."""

    match_expressions: Annotated[tuple[MatchExpression, ...], AsList(4, least=1)] = Field(
        description="Demands on the labels of one node."
    )


class PowerCapRange(Base):
    """Power limits that the board accepts."""

    rules: ClassVar = (
        Rule(
            "self.minWatts <= self.maxWatts",
            "minWatts must not exceed maxWatts",
            lambda caps: caps.min_watts <= caps.max_watts,
        ),
    )

    min_watts: BoardWatts = Field(description="Lowest limit.")
    max_watts: BoardWatts = Field(description="Highest limit.")


class PeakGigaflops(Base):
    """Dense peak rates, in GFLOP/s, by number format; absent: unknown."""

    fp32: Positive | None = unset("FP32.")
    tf32: Positive | None = unset("TF32.")
    fp16: Positive | None = unset("FP16.")
    bf16: Positive | None = unset("BF16.")
    fp8: Positive | None = unset("FP8.")
    int8: Positive | None = unset("INT8, in GOP/s.")
    fp4: Positive | None = unset("NVFP4 and MXFP4.")


class Interconnect(Base):
    """The fastest way from a board to its neighbours."""

    type: Literal["NVLink", "XGMI", "XeLink", "PCIe"] = Field(description="Kind of link.")
    bandwidth_bytes_per_second: Positive = Field(description="Bandwidth in one direction.")


class CalibrationConfigMap(Base):
    """The ConfigMap that holds fitted coefficients."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Its namespace."
    )


class Calibration(Base):
    """Fitted coefficients and how wrong they were on data they had not seen."""

    config_map_ref: CalibrationConfigMap | None = unset(
        "Where the coefficients lie; absent: those shipped."
    )
    digest: Digest | None = unset("SHA-256 of the coefficients.")
    power_error_permille: ErrorPermille | None = unset(
        "Mean absolute error of power, in thousandths."
    )
    energy_error_permille: ErrorPermille | None = unset(
        "Mean absolute error of energy, in thousandths."
    )


class Partition(Base):
    """One size that the board can be cut into."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Name as device plugins write it, e.g. 1g.10gb."
    )
    compute_permille: Permille = Field(description="Share of the compute units, in thousandths.")
    memory_permille: Permille = Field(description="Share of the memory, in thousandths.")


class GPUProfileSpec(Base):
    """Identity and physics of one kind of GPU."""

    rules: ClassVar = (
        Rule(
            "size(self.productNames) + size(self.deviceIDs) + size(self.deviceProductNames)"
            " + size(self.nodeSelectorTerms) > 0",
            "a profile must say how to recognise its GPU: add productNames, deviceIDs,"
            " deviceProductNames or nodeSelectorTerms",
            lambda spec: bool(
                spec.product_names
                or spec.device_ids
                or spec.device_product_names
                or spec.node_selector_terms
            ),
        ),
        Rule(
            "!has(self.idlePowerWatts) || self.idlePowerWatts < self.thermalDesignPowerWatts",
            "idlePowerWatts must be below thermalDesignPowerWatts",
            lambda spec: (
                spec.idle_power_watts is None
                or spec.idle_power_watts < spec.thermal_design_power_watts
            ),
        ),
    )

    vendor: Literal["NVIDIA", "AMD", "Intel"] = Field(description="Who makes it.")
    architecture: Annotated[str, Field(max_length=63)] | None = unset("Architecture, e.g. Hopper.")
    resource_names: Annotated[tuple[ObjectName, ...], AsSet(8)] = Field(
        default=(), description="Extended resources that it is requested by."
    )
    product_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], AsSet(32)
    ] = Field(default=(), description="Product names in node labels, without vendor prefix.")
    device_ids: Annotated[
        tuple[Annotated[str, Field(max_length=16, pattern=r"^[0-9a-f]{1,16}$")], ...], AsSet(16)
    ] = Field(default=(), alias="deviceIDs", description="PCI device ids, lower-case hex.")
    device_product_names: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], AsSet(16)
    ] = Field(default=(), description="Product names in DRA devices.")
    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], AsList(8)] = Field(
        default=(), description="Node labels of other dialects; any term is enough."
    )
    thermal_design_power_watts: BoardWatts = Field(description="Default power limit of a board.")
    idle_power_watts: Annotated[int, Field(ge=0, le=10000)] | None = unset(
        "Power of an idle board."
    )
    power_cap_range: PowerCapRange | None = unset("Power limits that the board accepts.")
    memory_bytes: Positive | None = unset("Memory of a board.")
    memory_bandwidth_bytes_per_second: Positive | None = unset("Bandwidth of that memory.")
    compute_units: Annotated[int, Field(ge=1, le=4096)] | None = unset("SMs or compute units.")
    peak_gigaflops: PeakGigaflops | None = unset("Dense peak rates.")
    supported_clocks_megahertz: Annotated[tuple[Clock, ...], AsList(64)] = Field(
        default=(), description="Clocks that can be locked."
    )
    interconnect: Interconnect | None = unset("Link to neighbours.")
    calibration: Calibration | None = unset("Fitted coefficients.")
    partitions: Annotated[tuple[Partition, ...], AsMap(16, "name")] = Field(
        default=(), description="Sizes that the board can be cut into."
    )


class ObservedTerm(Base):
    """A label by which nodes of this profile were recognised."""

    key: LabelKey = Field(description="Label key.")
    value: LabelValue = Field(description="Label value.")
    nodes: Count = Field(description="Nodes that carry it.")


class GPUProfileStatus(Base):
    """What of this kind the cluster holds."""

    nodes: Count | None = unset("Nodes with this GPU.")
    gpus: Count | None = unset("GPUs on them.")
    power_nodes: Count | None = unset("Nodes that advertise watts.")
    energy_error_percent: Count | None = unset(
        "Mean absolute error of energy against measurements."
    )
    observed_terms: Annotated[tuple[ObservedTerm, ...], AsList(32)] = Field(
        default=(), description="Labels by which the nodes were recognised."
    )
    conditions: Conditions = Field(default=(), description="State, one condition a question.")


class GPUProfile(Resource):
    """A kind of GPU: how to recognise it on a node, and what its datasheet says."""

    rules: ClassVar = (
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must not exceed 63 characters: it is also the value of a label",
            lambda profile: len(profile.metadata.name) <= MAX_NAME,
        ),
    )
    columns: ClassVar = (
        Column("Vendor", ".spec.vendor"),
        Column("TDP", ".spec.thermalDesignPowerWatts", "integer"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("GPUs", ".status.gpus", "integer"),
        Column("Error%", ".status.energyErrorPercent", "integer"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    kind: Literal["GPUProfile"] = "GPUProfile"
    spec: GPUProfileSpec = Field(description="Identity and physics.")
    status: GPUProfileStatus = Field(
        default=GPUProfileStatus(), description="What the cluster holds."
    )
