"""EnergyReservation: the energy held for one workload, and what it took of it so far."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.names import FINALIZER_RESERVATION
from energaizer_operator.schema import (
    AsSet,
    Base,
    Column,
    Conditions,
    Count,
    Digest,
    Method,
    ObjectName,
    ProfileName,
    Resource,
    Rule,
    Time,
    Watts,
    unset,
)


class ChargedObject(Base):
    """The object that is charged."""

    api_version: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Its apiVersion."
    )
    kind: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Its kind.")
    name: ObjectName = Field(description="Its name.")
    uid: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Its UID.")


class EnergyReservationSpec(Base):
    """What is held, for whom, of which budgets."""

    rules: ClassVar = (
        Rule(
            "self.workloadRef == oldSelf.workloadRef",
            "workloadRef cannot change",
            None,
            "FieldValueForbidden",
        ),
    )

    workload_ref: ChargedObject = Field(description="The charged object; cannot change.")
    ai_workload_name: ObjectName | None = unset("Its AIWorkload.")
    budget_names: Annotated[tuple[ObjectName, ...], AsSet(8)] = Field(
        default=(), description="Budgets that it counts against."
    )
    replicas: Count = Field(
        default=1, description="Pods that run at once, the surge of a rolling update with them."
    )
    energy_joules: Count = Field(description="High end of the predicted energy.")
    expected_energy_joules: Count | None = unset("Mean predicted energy.")
    power_watts: Watts = Field(description="High end of the predicted power.")
    expected_power_watts: Watts | None = unset("Mean predicted power.")
    per_replica_energy_joules: Count | None = unset("Energy of one pod, rounded up.")
    per_replica_power_watts: Watts | None = unset("Power of one pod, rounded up.")
    profile: ProfileName | None = unset("GPUProfile that is charged.")
    method: Method | None = unset("Where the numbers come from.")
    estimate_digest: Digest | None = unset("Digest of the estimate.")
    fencing_token: Count | None = unset("leaseTransitions of the leader that wrote it.")
    reserved_time: Time = Field(description="When it was reserved.")


class EnergyReservationStatus(Base):
    """What the workload took."""

    attempts: Count | None = unset("How often its pods were begun, retries included.")
    elapsed_seconds: Count | None = unset("Time in which it ran.")
    consumed_joules: Count | None = unset("Energy charged so far.")
    attempt_joules: Count | None = unset("consumedJoules when the present attempt began.")
    measured_joules: Count | None = unset("Energy measured so far, where coverage suffices.")
    settled_joules: Count | None = unset("Final charge.")
    charged_through_time: Time | None = unset("Time up to which consumedJoules speaks.")
    settled_time: Time | None = unset("When the last pod was gone.")
    conditions: Conditions = Field(default=(), description="State, one condition a question.")


class EnergyReservation(Resource):
    """Energy held for one workload; written by the controller alone, named by the object's UID."""

    ours: ClassVar = frozenset({"spec", "status"})
    columns: ClassVar = (
        Column("Kind", ".spec.workloadRef.kind"),
        Column("Workload", ".spec.workloadRef.name"),
        Column("Energy", ".spec.energyJoules", "integer"),
        Column("Power", ".spec.powerWatts", "integer"),
        Column("Consumed", ".status.consumedJoules", "integer"),
        Column("GPU", ".spec.profile"),
        Column("Settled", '.status.conditions[?(@.type=="Settled")].status'),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    kind: Literal["EnergyReservation"] = "EnergyReservation"
    spec: EnergyReservationSpec = Field(description="What is held.")
    status: EnergyReservationStatus = Field(
        default=EnergyReservationStatus(), description="What was taken."
    )


def release(finalizers: Sequence[str]) -> list[dict[str, str]]:
    """Return the JSON Patch that takes our finalizer off, and no other's; [] if it is not there."""
    if FINALIZER_RESERVATION not in finalizers:
        return []
    path = f"/metadata/finalizers/{list(finalizers).index(FINALIZER_RESERVATION)}"
    test = {"op": "test", "path": path, "value": FINALIZER_RESERVATION}
    return [test, {"op": "remove", "path": path}]
