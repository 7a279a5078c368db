"""Names that other objects and people refer to: group, kinds, keys, conditions, reasons.

A name is an interface: it appears here once, and nowhere else as a literal. Series have their names
in `metrics`, where each is explained.
"""

from enum import StrEnum
from typing import Final

GROUP: Final = "energaizer.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "energaizer"


class Kind(StrEnum):
    """Our kinds."""

    AI_WORKLOAD = "AIWorkload"
    GPU_PROFILE = "GPUProfile"
    ENERGY_POLICY = "EnergyPolicy"
    ENERGY_BUDGET = "EnergyBudget"
    ENERGY_RESERVATION = "EnergyReservation"


PLURALS: Final[dict[Kind, str]] = {
    Kind.AI_WORKLOAD: "aiworkloads",
    Kind.GPU_PROFILE: "gpuprofiles",
    Kind.ENERGY_POLICY: "energypolicies",
    Kind.ENERGY_BUDGET: "energybudgets",
    Kind.ENERGY_RESERVATION: "energyreservations",
}
SHORT_NAMES: Final[dict[Kind, str]] = {
    Kind.AI_WORKLOAD: "aiw",
    Kind.GPU_PROFILE: "gpup",
    Kind.ENERGY_POLICY: "epol",
    Kind.ENERGY_BUDGET: "ebud",
    Kind.ENERGY_RESERVATION: "eres",
}
NAMESPACED: Final[frozenset[Kind]] = frozenset(
    {Kind.AI_WORKLOAD, Kind.ENERGY_BUDGET, Kind.ENERGY_RESERVATION}
)

# --- Who we are to the API server -----------------------------------------------------------
FIELD_MANAGER: Final = "energaizer-controller"
WEBHOOK_FIELD_MANAGER: Final = "energaizer-webhook"
PROFILES_FIELD_MANAGER: Final = "energaizer-profiles"
LEASE: Final = "energaizer-controller"
SYSTEM_NAMESPACE: Final = "energaizer-system"
PART_OF: Final = "energaizer"
FINALIZER_RESERVATION: Final = f"{GROUP}/reservation-release"

# --- Labels and marks that we write -----------------------------------------------------------
LABEL_WORKLOAD: Final = f"{GROUP}/workload"
LABEL_ADMISSION: Final = f"{GROUP}/admission"
LABEL_GPU_PROFILE: Final = f"{GROUP}/gpu-profile"
ANNOTATION_HELD: Final = f"{GROUP}/held"
HELD_BY_BUDGET: Final = "budget"
ANNOTATION_POWER_CAPACITY: Final = f"{GROUP}/power-capacity-watts"
RESOURCE_WATTS: Final = f"{GROUP}/watts"

LABEL_APP_NAME: Final = "app.kubernetes.io/name"
LABEL_APP_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_APP_VERSION: Final = "app.kubernetes.io/version"
LABEL_APP_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_APP_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_APP_MANAGED_BY: Final = "app.kubernetes.io/managed-by"


class Admission(StrEnum):
    """Values of the namespace label `energaizer.io/admission`."""

    ENABLED = "enabled"
    STRICT = "strict"
    DISABLED = "disabled"


# --- Annotations that we write on pods (and owners, where asked) ----------------------------
ANNOTATION_POWER: Final = f"{GROUP}/predicted-power-watts"
ANNOTATION_ENERGY: Final = f"{GROUP}/predicted-energy-joules"
ANNOTATION_ENERGY_HIGH: Final = f"{GROUP}/predicted-energy-joules-high"
ANNOTATION_DURATION: Final = f"{GROUP}/predicted-duration-seconds"
ANNOTATION_WORKLOAD_ENERGY: Final = f"{GROUP}/workload-predicted-energy-joules"
ANNOTATION_GPU_PROFILE: Final = f"{GROUP}/gpu-profile"
ANNOTATION_METHOD: Final = f"{GROUP}/estimate-method"
ANNOTATION_DIGEST: Final = f"{GROUP}/estimate-digest"

# --- Annotations that we read: inputs (docs/cluster.md, 3.1) ----------------------------------
ANNOTATION_MODEL: Final = f"{GROUP}/model"
ANNOTATION_TASK: Final = f"{GROUP}/task"
ANNOTATION_PRECISION: Final = f"{GROUP}/precision"
ANNOTATION_WEIGHT_PRECISION: Final = f"{GROUP}/weight-precision"
ANNOTATION_CACHE_PRECISION: Final = f"{GROUP}/key-value-cache-precision"
ANNOTATION_BATCH_SIZE: Final = f"{GROUP}/batch-size"
ANNOTATION_INPUT_TOKENS: Final = f"{GROUP}/input-tokens"
ANNOTATION_OUTPUT_TOKENS: Final = f"{GROUP}/output-tokens"
ANNOTATION_REQUESTS: Final = f"{GROUP}/requests"
ANNOTATION_SEQUENCE_LENGTH: Final = f"{GROUP}/sequence-length"
ANNOTATION_STEPS: Final = f"{GROUP}/steps"
ANNOTATION_TENSOR_PARALLEL: Final = f"{GROUP}/tensor-parallel"
ANNOTATION_PIPELINE_PARALLEL: Final = f"{GROUP}/pipeline-parallel"
ANNOTATION_EXPERT_PARALLEL: Final = f"{GROUP}/expert-parallel"
ANNOTATION_CONTEXT_PARALLEL: Final = f"{GROUP}/context-parallel"
ANNOTATION_DATA_PARALLEL: Final = f"{GROUP}/data-parallel"
ANNOTATION_IMAGE_HEIGHT: Final = f"{GROUP}/image-height"
ANNOTATION_IMAGE_WIDTH: Final = f"{GROUP}/image-width"
ANNOTATION_FRAMES: Final = f"{GROUP}/frames"
ANNOTATION_DENOISING_STEPS: Final = f"{GROUP}/denoising-steps"
ANNOTATION_EXPECTED_DURATION: Final = f"{GROUP}/expected-duration-seconds"
ANNOTATION_GPU_CLOCK: Final = f"{GROUP}/gpu-clock-megahertz"
ANNOTATION_GPU_POWER_CAP: Final = f"{GROUP}/gpu-power-cap-watts"
ANNOTATION_DYNAMO_POWER_CAP: Final = "dynamo.nvidia.com/gpu-power-limit"

# --- Keys of others that we read --------------------------------------------------------------
LABEL_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
KUEUE_CONTROLLER: Final = f"{GROUP}/energy"
"""`controllerName` of Kueue's AdmissionChecks that we answer."""
LABEL_KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_NVIDIA_PRODUCT: Final = "nvidia.com/gpu.product"
LABEL_AMD_PRODUCT: Final = "amd.com/gpu.product-name"
CALIBRATION_KEY: Final = "coefficients.json"
"""Key of a ConfigMap with the coefficients of a GPU."""
MODEL_CONFIG_KEY: Final = "config.json"
"""Key of a ConfigMap with the configuration of a model."""

RESOURCE_NVIDIA: Final = "nvidia.com/gpu"
RESOURCE_NVIDIA_SHARED: Final = "nvidia.com/gpu.shared"
RESOURCE_NVIDIA_MIG_PREFIX: Final = "nvidia.com/mig-"
RESOURCE_NVIDIA_CLAIMED_PART: Final = f"{RESOURCE_NVIDIA_MIG_PREFIX}claim"
RESOURCE_AMD: Final = "amd.com/gpu"
RESOURCE_INTEL_PREFIX: Final = "gpu.intel.com/"
RESOURCE_INTEL: Final = f"{RESOURCE_INTEL_PREFIX}xe"


class ConditionType(StrEnum):
    """Types of `status.conditions`, of every kind."""

    READY = "Ready"
    INPUTS_RESOLVED = "InputsResolved"
    ESTIMATED = "Estimated"
    BUDGET_RESERVED = "BudgetReserved"
    PLACEMENT_APPLIED = "PlacementApplied"
    MEASURED = "Measured"
    MATCHED = "Matched"
    CALIBRATION_LOADED = "CalibrationLoaded"
    NEAR_LIMIT = "NearLimit"
    EXCEEDED = "Exceeded"
    DRIFTED = "Drifted"
    RUNNING = "Running"
    SETTLED = "Settled"
    RESERVED = "Reserved"


class Reason(StrEnum):
    """Reasons of conditions (docs/cluster.md, 5)."""

    # InputsResolved
    RESOLVED = "Resolved"
    MISSING_INPUTS = "MissingInputs"
    INVALID_ANNOTATION = "InvalidAnnotation"
    UNKNOWN_MODEL = "UnknownModel"
    INVALID_CONFIG_MAP = "InvalidConfigMap"
    WORKLOAD_NOT_FOUND = "WorkloadNotFound"
    DUPLICATE_WORKLOAD = "DuplicateWorkload"
    # Estimated
    ESTIMATED = "Estimated"
    TDP_BOUND_USED = "TDPBoundUsed"
    NO_PROFILE = "NoProfile"
    INFEASIBLE_MEMORY = "InfeasibleMemory"
    ESTIMATOR_TIMEOUT = "EstimatorTimeout"
    # BudgetReserved
    NOT_REQUIRED = "NotRequired"
    PENDING = "Pending"
    RESERVED = "Reserved"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    POLICY_DENIED = "PolicyDenied"
    HOLD_UNSUPPORTED = "HoldUnsupported"
    SETTLED = "Settled"
    # PlacementApplied
    PREFERRED = "Preferred"
    REQUIRED = "Required"
    NARROWED = "Narrowed"
    WITHIN_ERROR = "WithinError"
    SKIPPED = "Skipped"
    # Measured
    MEASURED = "Measured"
    NO_SAMPLES = "NoSamples"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SHARED_GPU = "SharedGPU"
    # Ready, and what other kinds need
    READY = "Ready"
    MATCHED = "Matched"
    NO_NODES = "NoNodes"
    CONFLICT = "Conflict"
    CALIBRATION_LOADED = "CalibrationLoaded"
    NO_CALIBRATION = "NoCalibration"
    NOT_FOUND = "NotFound"
    FORBIDDEN = "Forbidden"
    DIGEST_MISMATCH = "DigestMismatch"
    INVALID_BUDGET = "InvalidBudget"
    WITHIN_LIMIT = "WithinLimit"
    NEAR_LIMIT = "NearLimit"
    EXCEEDED = "Exceeded"
    IN_STEP = "InStep"
    REPAIRED = "Repaired"
    RUNNING = "Running"
    NOT_RUNNING = "NotRunning"
    NOT_ENDED = "NotEnded"


class EventReason(StrEnum):
    """Reasons of the events that we write, at most one a minute per object and reason."""

    ESTIMATE_READY = "EstimateReady"
    ESTIMATE_FAILED = "EstimateFailed"
    BUDGET_EXCEEDED = "BudgetExceeded"
    BUDGET_RELEASED = "BudgetReleased"
    BUDGET_DRIFTED = "BudgetDrifted"
    UNPROFILED_GPU = "UnprofiledGPU"
    CONFLICTING_GPU = "ConflictingGPU"
    UNWATTED_POD = "UnwattedPod"
    INVALID_POWER_CAPACITY = "InvalidPowerCapacity"
    UNBUDGETED_POD = "UnbudgetedPod"


class AuditKey(StrEnum):
    """Keys of the audit annotations of an admission answer (the server prefixes the webhook)."""

    DECISION = "decision"
    POLICY = "policy"
    BUDGET = "budget"
    DIGEST = "digest"


class Webhook(StrEnum):
    """Names of the admission webhooks; the strict twin of each has the suffix `-strict`."""

    AI_WORKLOAD = f"aiworkload.{GROUP}"
    WORKLOAD = f"workload.{GROUP}"
    SCALE = f"scale.{GROUP}"
    POD = f"pod.{GROUP}"
    POD_MUTATE = f"pod-mutate.{GROUP}"
    OWNER_MUTATE = f"owner-mutate.{GROUP}"
