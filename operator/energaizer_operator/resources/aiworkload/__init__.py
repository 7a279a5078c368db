"""AIWorkload: what a user says about a workload, and what we predict for it."""

from typing import ClassVar, Literal

from pydantic import Field

from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.schema import (
    Column,
    Resource,
    Rule,
)


class AIWorkload(Resource):
    """An AI workload on GPUs: its inputs, and the power, energy and time predicted for it."""

    rules: ClassVar = (
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must not exceed 63 characters: it is also the value of a label",
            lambda workload: len(workload.metadata.name) <= MAX_NAME,
        ),
    )
    columns: ClassVar = (
        Column("Task", ".status.task"),
        Column("Model", ".status.modelName"),
        Column("GPU", ".status.estimate.profile"),
        Column("GPUs", ".status.estimate.gpuCount", "integer"),
        Column("Power", ".status.estimate.powerHuman"),
        Column("Energy", ".status.estimate.energyHuman"),
        Column("Budget", '.status.conditions[?(@.type=="BudgetReserved")].reason'),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Method", ".status.estimate.method", priority=1),
        Column("Source", ".status.inputsSource", priority=1),
        Column("Error%", ".status.measured.errorPercent", "integer", 1),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
    )

    kind: Literal["AIWorkload"] = "AIWorkload"
    spec: AIWorkloadSpec = Field(description="What the user states.")
    status: AIWorkloadStatus = Field(
        default=AIWorkloadStatus(), description="What the controller found."
    )


MAX_NAME = 63
