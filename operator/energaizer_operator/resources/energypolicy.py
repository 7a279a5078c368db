"""EnergyPolicy: what a platform allows, warns of or refuses, and the inputs it assumes."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.schema import (
    AsSet,
    Base,
    Column,
    Conditions,
    Count,
    Objective,
    ObjectName,
    PlacementMode,
    Positive,
    Precision,
    ProfileName,
    Resource,
    Seconds,
    Task,
    Watts,
    unset,
)
from energaizer_operator.selectors import LabelSelector

DEFAULT_DURATION_SECONDS = 3600
Tokens = Annotated[int, Field(ge=1, le=16777216)]


class PolicyLimits(Base):
    """Ceilings of a single workload."""

    max_energy_joules: Positive | None = unset("Energy of a workload.")
    max_power_watts: Watts | None = unset("Mean power of its GPUs.")
    max_energy_per_token_microjoules: Positive | None = unset("Energy over tokens.")
    allowed_profiles: Annotated[tuple[ProfileName, ...], AsSet(16)] | None = unset(
        "GPUProfiles that may be used."
    )
    require_inputs: Literal["Required", "Optional"] = Field(
        default="Optional", description="Required: a missing input violates the policy."
    )


class PolicyDefaults(Base):
    """Inputs assumed where nobody states them; the weakest source."""

    task: Task | None = unset("What a workload does.")
    model_name: ObjectName | None = unset("The model it runs.")
    precision: Precision | None = unset("Number format.")
    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = unset("Sequences that run together.")
    input_tokens: Tokens | None = unset("Tokens of one prompt.")
    output_tokens: Annotated[int, Field(ge=0, le=16777216)] | None = unset("Tokens of one answer.")
    sequence_length: Tokens | None = unset("Tokens of one sequence.")
    duration_seconds: Seconds = Field(
        default=DEFAULT_DURATION_SECONDS, description="Time a workload takes."
    )


class PolicyPlacement(Base):
    """How predictions steer the scheduler, where the AIWorkload does not say."""

    mode: PlacementMode | None = unset("Means of steering.")
    objective: Objective | None = unset("What to minimise.")
    max_slowdown_percent: Annotated[int, Field(ge=0, le=1000)] | None = unset(
        "Extra time against the fastest feasible candidate."
    )


class EnergyPolicySpec(Base):
    """Whom the policy is for, its limits, and what follows when one is passed."""

    priority: Annotated[int, Field(ge=0, le=1000000)] = Field(
        default=0, description="The highest of the matching policies sets defaults and modes."
    )
    namespace_selector: LabelSelector | None = unset("Namespaces it is for; absent: all.")
    workload_selector: LabelSelector | None = unset(
        "Workloads it is for, by their labels; absent: all."
    )
    action: Literal["Deny", "Warn", "Audit"] = Field(
        default="Warn", description="What follows when a limit is passed."
    )
    limits: PolicyLimits | None = unset("Ceilings of one workload.")
    uncertainty: Literal["Mean", "High"] = Field(
        default="High", description="Which value is held against the limits."
    )
    on_estimator_failure: Literal["UseTDPBound", "Warn", "Deny"] = Field(
        default="UseTDPBound", description="What follows when only a bound is known."
    )
    declared_caps: Literal["Trusted", "Untrusted"] = Field(
        default="Untrusted",
        description="Trusted: a declared clock or cap is charged, since the platform enforces it.",
    )
    defaults: PolicyDefaults | None = unset("Inputs assumed where nobody states them.")
    placement: PolicyPlacement | None = unset("Steering of pods.")
    carbon_intensity_grams_per_kilowatt_hour: Annotated[int, Field(ge=0, le=5000)] | None = unset(
        "For display only, never charged."
    )
    power_usage_effectiveness_percent: Annotated[int, Field(ge=100, le=500)] = Field(
        default=100, description="For display only, never charged."
    )


class EnergyPolicyStatus(Base):
    """Where the policy is in force."""

    matched_namespaces: Count | None = unset("Namespaces it is for.")
    conditions: Conditions = Field(default=(), description="State, one condition a question.")


class EnergyPolicy(Resource):
    """A rule of the platform about the energy and power of single workloads."""

    columns: ClassVar = (
        Column("Priority", ".spec.priority", "integer"),
        Column("Action", ".spec.action"),
        Column("Max-Energy", ".spec.limits.maxEnergyJoules", "integer"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    kind: Literal["EnergyPolicy"] = "EnergyPolicy"
    spec: EnergyPolicySpec = Field(description="The rule.")
    status: EnergyPolicyStatus = Field(
        default=EnergyPolicyStatus(), description="Where it is in force."
    )
