"""What the controller found out about a workload."""

from typing import Annotated, Literal

from pydantic import Field

from energaizer_operator.schema import (
    MAX,
    AsList,
    AsSet,
    Base,
    Clock,
    Conditions,
    Count,
    Digest,
    EstimateSummary,
    InputsSource,
    ObjectName,
    PlacementMode,
    Positive,
    ProfileName,
    Task,
    Time,
    Watts,
    unset,
)


class ResolvedInput(Base):
    """One input as it was used, and where it came from."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Path of the input in spec, e.g. inference.batchSize."
    )
    value: Annotated[str, Field(max_length=253)] = Field(description="Its value, as text.")
    source: InputsSource = Field(description="The strongest source that stated it.")


class Candidate(Base):
    """One GPU, clock and cap that was estimated beside the others."""

    name: Annotated[str, Field(min_length=1, max_length=96)] = Field(
        description="Profile, with clock and cap where they are set."
    )
    profile: ProfileName = Field(description="Name of the GPUProfile.")
    clock_megahertz: Clock | None = unset("Locked clock, if any.")
    power_cap_watts: Annotated[int, Field(ge=1, le=10000)] | None = unset(
        "Power cap of each GPU, if any."
    )
    power_watts: Watts | None = unset("Mean power of all boards.")
    duration_seconds: Positive | None = unset("Time it takes.")
    energy_joules: Positive | None = unset("Energy of all boards.")
    energy_high_joules: Positive | None = unset("Upper end of the 90 % interval of the energy.")
    feasibility: Literal[
        "Feasible", "InsufficientMemory", "TooSlow", "NotInCluster", "SharedGPU", "OverLimit"
    ] = Field(description="Whether the workload could run so, and if not, why.")
    rank: Annotated[int, Field(ge=1, le=32)] = Field(
        description="1 is the best by the objective; feasible ones come first."
    )


class BudgetStatus(Base):
    """What the workload was charged to."""

    budget_names: Annotated[tuple[ObjectName, ...], AsSet(8)] = Field(
        default=(), description="Budgets that it counts against."
    )
    reservation_name: ObjectName | None = unset("Its EnergyReservation.")
    reserved_joules: Count | None = unset("Energy held for it.")
    charged_joules: Count | None = unset("Energy charged so far.")


class PlacementStatus(Base):
    """What was done to steer the scheduler."""

    mode: PlacementMode = Field(description="Means of steering in force.")
    applied: bool = Field(description="Whether pods carry our terms.")
    preferred_profiles: Annotated[tuple[ProfileName, ...], AsList(16)] = Field(
        default=(), description="Profiles in order of preference."
    )


class Measured(Base):
    """What sensors saw, to set beside the prediction."""

    energy_joules: Count | None = unset("Energy measured so far.")
    power_watts: Annotated[int, Field(ge=0, le=10**9)] | None = unset(
        "Mean power over the last window."
    )
    source: Literal["DCGM", "Kepler", "ROCm", "None"] = Field(description="Who measured.")
    coverage_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        description="Share of the GPU time that had samples."
    )
    error_percent: Annotated[int, Field(ge=-MAX, le=MAX)] | None = unset(
        "Predicted over measured energy, less 100 %."
    )
    last_sample_time: Time | None = unset("Time of the last sample.")


class AIWorkloadStatus(Base):
    """What we found out; written by the controller alone."""

    observed_generation: Count | None = unset("Generation of the spec that this status speaks of.")
    task: Task | None = unset("Resolved task.")
    model_name: Annotated[str, Field(max_length=253)] | None = unset("Resolved model.")
    inputs_source: InputsSource | None = unset("Weakest source that supplied an input.")
    resolved_inputs: Annotated[tuple[ResolvedInput, ...], AsList(32)] = Field(
        default=(), description="Inputs as they were used."
    )
    inputs_digest: Digest | None = unset("Digest of inputs, profile and estimator version.")
    estimate: EstimateSummary | None = unset("The prediction, on the best feasible candidate.")
    candidates: Annotated[tuple[Candidate, ...], AsList(32)] = Field(
        default=(), description="What else was estimated, best first."
    )
    budget: BudgetStatus | None = unset("Budgets and charge.")
    placement: PlacementStatus | None = unset("Steering done.")
    measured: Measured | None = unset("What sensors saw.")
    conditions: Conditions = Field(default=(), description="State, one condition a question.")
