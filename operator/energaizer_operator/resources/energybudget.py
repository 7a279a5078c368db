"""EnergyBudget: the joules that a namespace may take in a window of time."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.schema import (
    AsList,
    Base,
    Column,
    Conditions,
    Count,
    Human,
    Method,
    ObjectName,
    Positive,
    ProfileName,
    Resource,
    Rule,
    Time,
    Watts,
    unset,
)
from energaizer_operator.selectors import LabelSelector

MAX_PROVISIONAL = 128  # a PUT of the status takes 15 ms with so many, measured
MAX_FOLDED = 256
MAX_BUCKETS = 96

Uid = Annotated[str, Field(min_length=1, max_length=63)]
BudgetAction = Literal["Deny", "Hold", "Warn", "Audit"]
WindowType = Literal["Calendar", "Rolling", "None"]
Period = Literal["Day", "Week", "Month"]


class Window(Base):
    """The time over which joules are counted."""

    rules: ClassVar = (
        Rule(
            "(self.type != 'Calendar' || has(self.period))"
            " && (self.type != 'Rolling' || has(self.seconds))",
            "a Calendar window needs period, a Rolling one seconds",
            lambda window: (
                (window.type != "Calendar" or window.period is not None)
                and (window.type != "Rolling" or window.seconds is not None)
            ),
        ),
    )

    type: WindowType = Field(
        default="Calendar",
        description="Calendar: begins anew each period; Rolling: the last seconds; None: for ever.",
    )
    period: Period | None = unset("Of a Calendar window; weeks begin on Monday.")
    seconds: Annotated[int, Field(ge=3600, le=31622400)] | None = unset("Of a Rolling window.")
    time_zone: str = Field(
        default="UTC", min_length=1, max_length=63, description="IANA name, e.g. Europe/Rome."
    )


class EnergyBudgetSpec(Base):
    """How many joules, for whom, and what follows when they do not suffice."""

    rules: ClassVar = (
        Rule(
            "self.window == oldSelf.window",
            "window cannot change: it would re-interpret what is consumed; make another budget",
            None,
            "FieldValueForbidden",
        ),
    )

    limit_joules: Positive = Field(description="Joules of a window.")
    window: Window = Field(description="Time over which they are counted; cannot change.")
    selector: LabelSelector | None = unset("Workloads it is for, by their labels; absent: all.")
    action: BudgetAction = Field(
        default="Warn", description="What follows where a workload does not fit."
    )
    charge_basis: Literal["Predicted", "MeasuredThenPredicted"] = Field(
        default="MeasuredThenPredicted",
        description="Whether measured energy replaces the prediction once it is known.",
    )
    reserve_for: Literal["High", "Mean"] = Field(
        default="High", description="Which end of the prediction is reserved."
    )
    overcommit_percent: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="How much more than the limit may be promised."
    )
    warning_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        default=80, description="Use from which the condition NearLimit holds."
    )


class Provisional(Base):
    """What admission promised to an object that the controller has not booked yet."""

    uid: Uid = Field(description="Of the object.")
    kind: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Of the object.")
    name: ObjectName = Field(description="Of the object.")
    energy_joules: Count = Field(description="What it adds to the charge.")
    expires_time: Time = Field(
        description="From then on it is dropped if the object does not exist."
    )
    replicas: Count | None = unset("Pods that the object will have.")
    charged_joules: Count | None = unset("High energy of the whole workload.")
    expected_joules: Count | None = unset("Mean energy of the whole workload.")
    charged_watts: Watts | None = unset("High power of the whole workload.")
    expected_watts: Watts | None = unset("Mean power of the whole workload.")
    profile: ProfileName | None = unset("GPUProfile that is charged.")
    method: Method | None = unset("Where the numbers come from.")


class Bucket(Base):
    """What was closed in one slice of a Rolling window."""

    start_time: Time = Field(description="Begin of the slice.")
    energy_joules: Count = Field(description="Joules that were settled in it.")


class EnergyBudgetStatus(Base):
    """The balance; written by the controller, and by admission where it adds provisional ones."""

    observed_generation: Count | None = unset("Generation of the spec that this status speaks of.")
    window_start_time: Time | None = unset("Begin of the present window.")
    window_end_time: Time | None = unset("Its end, if it has one.")
    closed_joules: Count | None = unset("Settled workloads of this window.")
    consumed_joules: Count | None = unset("Closed, and what running workloads took so far.")
    reserved_joules: Count | None = unset("What running and admitted workloads may still take.")
    remaining_joules: Count | None = unset("What may still be promised.")
    used_percent: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = unset(
        "Consumed, reserved and promised, of the limit."
    )
    active_reservations: Count | None = unset("Reservations that are not settled.")
    pending_workloads: Count | None = unset("Workloads that are held.")
    limit_human: Human | None = unset("The limit for people.")
    remaining_human: Human | None = unset("What remains, for people.")
    provisional: Annotated[tuple[Provisional, ...], AsList(MAX_PROVISIONAL)] = Field(
        default=(), description="Promised by admission, not booked yet; one an object."
    )
    # Not a list by key: to track 128 entries field by field took the API server 70 ms a write, and
    # whoever writes this list writes all of it, guarded by the version.
    buckets: Annotated[tuple[Bucket, ...], AsList(MAX_BUCKETS)] = Field(
        default=(), description="Closed joules by time, of a Rolling window."
    )
    folded: Annotated[tuple[Uid, ...], AsList(MAX_FOLDED)] = Field(
        default=(), description="Settled reservations that closedJoules holds already."
    )
    conditions: Conditions = Field(default=(), description="State, one condition a question.")


class EnergyBudget(Resource):
    """The energy that the workloads of a namespace may take in a window of time."""

    columns: ClassVar = (
        Column("Limit", ".status.limitHuman"),
        Column("Used%", ".status.usedPercent", "integer"),
        Column("Remaining", ".status.remainingHuman"),
        Column("Pending", ".status.pendingWorkloads", "integer"),
        Column("Window-End", ".status.windowEndTime"),  # a date column calls the future invalid
        Column("Action", ".spec.action"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    kind: Literal["EnergyBudget"] = "EnergyBudget"
    spec: EnergyBudgetSpec = Field(description="The allowance.")
    status: EnergyBudgetStatus = Field(default=EnergyBudgetStatus(), description="The balance.")
