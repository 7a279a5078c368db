"""Good and bad objects for every CEL rule of the CRDs."""

from __future__ import annotations

from typing import Any

from energaizer_operator.names import API_VERSION, Kind

SMALLEST: dict[Kind, dict[str, Any]] = {
    Kind.AI_WORKLOAD: {},
    Kind.GPU_PROFILE: {
        "vendor": "NVIDIA",
        "thermalDesignPowerWatts": 70,
        "productNames": ["T4"],
    },
    Kind.ENERGY_POLICY: {},
    Kind.ENERGY_BUDGET: {"limitJoules": 1, "window": {"period": "Month"}},
    Kind.ENERGY_RESERVATION: {
        "workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "u"},
        "energyJoules": 1,
        "powerWatts": 1,
        "reservedTime": "2026-11-24T12:00:00Z",
    },
}


def manifest(kind: Kind, spec: Any, name: str = "x") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def merged(kind: Kind, **spec: Any) -> dict[str, Any]:
    return manifest(kind, {**SMALLEST[kind], **spec})


W, G, P = Kind.AI_WORKLOAD, Kind.GPU_PROFILE, Kind.ENERGY_POLICY
B, R = Kind.ENERGY_BUDGET, Kind.ENERGY_RESERVATION
LONG, SHORT = "a" * 64, "a" * 63


def only(kind: Kind, key: str, values: list[Any]) -> list[dict[str, Any]]:
    return [merged(kind, **{key: value}) for value in values]


def spec(*specs: dict[str, Any]) -> list[dict[str, Any]]:
    return [manifest(W, one) for one in specs]


def term(*expressions: dict[str, Any]) -> dict[str, Any]:
    return merged(G, nodeSelectorTerms=[{"matchExpressions": list(expressions)}])


def choice(*expressions: dict[str, Any]) -> dict[str, Any]:
    return merged(P, namespaceSelector={"matchExpressions": list(expressions)})


# Words of the message -> good and bad objects; every rule that is not about a transition.
RULES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "metadata.name must not exceed 63 characters": (
        [manifest(kind, SMALLEST[kind], name) for kind in (W, G) for name in (SHORT, "a", "a.b")],
        [
            manifest(kind, SMALLEST[kind], name)
            for kind in (W, G)
            for name in (LONG, "b" * 100, "c" * 253)
        ],
    ),
    "inference and training exclude each other": (
        spec(
            {},
            {"inference": {}},
            {"training": {}},
            {"training": {"steps": 1}},
            {"task": "Training"},
        ),
        spec(
            {"inference": {}, "training": {}},
            {"inference": {"batchSize": 1}, "training": {}},
            {"inference": {}, "training": {"steps": 1}},
            {"inference": {"requests": 1}, "training": {"tokens": 1}},
            {"task": "Training", "inference": {}, "training": {}},
        ),
    ),
    "a training block needs task": (
        spec(
            {"task": "Training", "training": {}},
            {"task": "FineTuning", "training": {}},
            {"training": {}},
            {"task": "Inference"},
            {"task": "BatchInference", "inference": {}},
        ),
        spec(
            *(
                {"task": task, "training": body}
                for task in ("Inference", "BatchInference")
                for body in ({}, {"steps": 1}, {"tokens": 1})
            )
        ),
    ),
    "an inference block needs task": (
        spec(
            {"task": "Inference", "inference": {}},
            {"task": "BatchInference", "inference": {}},
            {"inference": {}},
            {"task": "Training"},
            {"task": "FineTuning", "training": {}},
        ),
        spec(
            *(
                {"task": task, "inference": body}
                for task in ("Training", "FineTuning")
                for body in ({}, {"requests": 1}, {"batchSize": 1})
            )
        ),
    ),
    "source Inline needs model.architecture": (
        only(
            W,
            "model",
            [
                {"source": "Inline", "architecture": {}},
                {"source": "Inline", "architecture": {"layers": 1}},
                {"source": "Preset"},
                {"architecture": {}},
                {},
            ],
        ),
        only(
            W,
            "model",
            [
                {"source": "Inline"},
                {"source": "Inline", "name": "m"},
                {"source": "Inline", "configMapRef": {"name": "c"}},
                {"source": "Inline", "precision": "BF16"},
                {"source": "Inline", "revision": "r"},
            ],
        ),
    ),
    "source HuggingFaceConfig needs": (
        only(
            W,
            "model",
            [
                {"source": "HuggingFaceConfig", "configMapRef": {"name": "c"}},
                {"source": "HuggingFaceConfig", "configMapRef": {"name": "c"}, "name": "m"},
                {"source": "Preset", "name": "m"},
                {"configMapRef": {"name": "c"}},
                {"name": "m"},
            ],
        ),
        only(
            W,
            "model",
            [
                {"source": "HuggingFaceConfig"},
                {"source": "HuggingFaceConfig", "name": "m"},
                {"source": "HuggingFaceConfig", "architecture": {}},
                {"source": "HuggingFaceConfig", "revision": "r"},
                {"source": "HuggingFaceConfig", "precision": "FP8"},
            ],
        ),
    ),
    "requests (a finite job) and requestsPerSecondMilli": (
        only(
            W,
            "inference",
            [{}, {"requests": 1}, {"requestsPerSecondMilli": 1}, {"requests": 9}, {"batchSize": 1}],
        ),
        only(
            W,
            "inference",
            [
                {"requests": n, "requestsPerSecondMilli": m}
                for n, m in ((1, 1), (2, 1), (1, 2), (9, 9), (2**53 - 1, 10**9))
            ],
        ),
    ),
    "steps and tokens both state the length": (
        only(W, "training", [{}, {"steps": 1}, {"tokens": 1}, {"steps": 9}, {"tokens": 2**53 - 1}]),
        only(
            W,
            "training",
            [
                {"steps": n, "tokens": m}
                for n, m in ((1, 1), (2, 1), (1, 2), (9, 9), (5, 2**53 - 1))
            ],
        ),
    ),
    "microBatchSize is a part of globalBatchSize": (
        only(
            W,
            "training",
            [
                {"microBatchSize": 1, "globalBatchSize": 1},
                {"microBatchSize": 1, "globalBatchSize": 2},
                {"microBatchSize": 9},
                {"globalBatchSize": 1},
                {"microBatchSize": 65536, "globalBatchSize": 1048576},
            ],
        ),
        only(
            W,
            "training",
            [
                {"microBatchSize": m, "globalBatchSize": g}
                for m, g in ((2, 1), (3, 2), (9, 8), (65536, 65535), (65536, 1))
            ],
        ),
    ),
    "must not exceed 256 combinations": (
        only(
            W,
            "whatIf",
            [
                {},
                {"profiles": ["a"]},
                {"profiles": ["a"] * 16, "clocksMegahertz": [100] * 15},
                {"profiles": ["a"] * 4, "clocksMegahertz": [100] * 7, "powerCapsWatts": [10] * 7},
                {"clocksMegahertz": [100] * 16, "powerCapsWatts": [10] * 16},
            ],
        ),
        only(
            W,
            "whatIf",
            [
                {"profiles": ["a"] * 16, "clocksMegahertz": [100] * 16},
                {"profiles": ["a"], "clocksMegahertz": [100] * 16, "powerCapsWatts": [10] * 16},
                {"profiles": ["a"] * 4, "clocksMegahertz": [100] * 7, "powerCapsWatts": [10] * 8},
                {"profiles": ["a"] * 16, "powerCapsWatts": [10] * 16},
                {"profiles": ["a"] * 9, "clocksMegahertz": [100] * 5, "powerCapsWatts": [10] * 4},
            ],
        ),
    ),
    "tensor x pipeline x context exceeds the GPUs": (
        spec(
            {"parallelism": {"tensor": 8}, "accelerator": {"countPerReplica": 8}},
            {"parallelism": {"tensor": 1024}},
            {"parallelism": {"tensor": 16}, "accelerator": {"replicas": 1}},
            {
                "parallelism": {"tensor": 8, "pipeline": 2},
                "accelerator": {"countPerReplica": 8, "replicas": 2},
            },
            {"parallelism": {"expert": 64, "data": 9}, "accelerator": {"countPerReplica": 1}},
        ),
        spec(
            {"parallelism": {"tensor": 9}, "accelerator": {"countPerReplica": 8}},
            {"parallelism": {"pipeline": 9}, "accelerator": {"countPerReplica": 8, "replicas": 0}},
            {"parallelism": {"context": 2}, "accelerator": {"countPerReplica": 1}},
            {
                "parallelism": {"tensor": 8, "pipeline": 2, "context": 2},
                "accelerator": {"countPerReplica": 8, "replicas": 2},
            },
            {
                "parallelism": {"tensor": 1024, "pipeline": 1024, "context": 1024},
                "accelerator": {"countPerReplica": 1024, "replicas": 100000},
            },
        ),
    ),
    "a profile must say how to recognise its GPU": (
        [
            merged(G),
            merged(G, productNames=[], deviceIDs=["1eb8"]),
            merged(G, productNames=[], deviceProductNames=["Tesla T4"]),
            merged(G, deviceIDs=["1eb8"]),
            merged(
                G,
                productNames=[],
                nodeSelectorTerms=[{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
            ),
        ],
        [
            merged(G, productNames=[]),
            merged(G, productNames=[], deviceIDs=[]),
            merged(G, productNames=[], deviceProductNames=[], nodeSelectorTerms=[]),
            manifest(G, {"vendor": "AMD", "thermalDesignPowerWatts": 1}),
            merged(G, productNames=[], resourceNames=["amd.com/gpu"]),
        ],
    ),
    "idlePowerWatts must be below": (
        only(G, "idlePowerWatts", [0, 1, 10, 68, 69]),
        only(G, "idlePowerWatts", [70, 71, 100, 9999, 10000]),
    ),
    "minWatts must not exceed maxWatts": (
        only(
            G,
            "powerCapRange",
            [
                {"minWatts": a, "maxWatts": b}
                for a, b in ((1, 1), (1, 2), (60, 70), (1, 10000), (9, 9))
            ],
        ),
        only(
            G,
            "powerCapRange",
            [
                {"minWatts": a, "maxWatts": b}
                for a, b in ((2, 1), (70, 60), (10000, 1), (10000, 9999), (3, 2))
            ],
        ),
    ),
    "operator In needs values and Exists takes none": (
        [
            term({"key": "a", "operator": "In", "values": ["1"]}),
            term({"key": "a", "operator": "In", "values": [""]}),
            term({"key": "a", "operator": "Exists"}),
            term({"key": "a", "operator": "Exists", "values": []}),
            term(
                {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "In", "values": ["1"]}
            ),
        ],
        [
            term({"key": "a", "operator": "In"}),
            term({"key": "a", "operator": "In", "values": []}),
            term({"key": "a", "operator": "Exists", "values": ["1"]}),
            term({"key": "a", "operator": "Exists"}, {"key": "b", "operator": "In"}),
            term({"key": "a", "operator": "Exists", "values": [""]}),
        ],
    ),
    "operators In and NotIn need values": (
        [
            choice({"key": "a", "operator": "In", "values": ["1"]}),
            choice({"key": "a", "operator": "NotIn", "values": ["1", "2"]}),
            choice({"key": "a", "operator": "Exists"}),
            choice({"key": "a", "operator": "DoesNotExist"}),
            choice(),
        ],
        [
            choice({"key": "a", "operator": "In"}),
            choice({"key": "a", "operator": "NotIn"}),
            choice({"key": "a", "operator": "Exists", "values": ["1"]}),
            choice({"key": "a", "operator": "DoesNotExist", "values": ["1"]}),
            choice({"key": "a", "operator": "In", "values": []}),
        ],
    ),
    "a Calendar window needs period, a Rolling one seconds": (
        only(
            B,
            "window",
            [
                {"period": "Day"},
                {"type": "Calendar", "period": "Week", "timeZone": "Europe/Rome"},
                {"type": "Rolling", "seconds": 3600},
                {"type": "None"},
                {"type": "Rolling", "seconds": 31622400, "period": "Day"},
            ],
        ),
        only(
            B,
            "window",
            [
                {},
                {"type": "Calendar"},
                {"type": "Rolling"},
                {"type": "Rolling", "period": "Day"},
                {"type": "Calendar", "seconds": 3600},
            ],
        ),
    ),
}
