"""What only a switch brings, against an API server in memory: node labels and annotations."""

from typing import Any

import pytest

from energaizer_operator import kinds, marks, owners
from energaizer_operator.controller.annotating import Annotating
from energaizer_operator.controller.labelling import Labelling, told
from energaizer_operator.controller.loop import Context
from energaizer_operator.identity import Identification
from energaizer_operator.informer import MetadataRecord
from energaizer_operator.names import LABEL_GPU_PROFILE as LABEL
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.schema import EstimateSummary
from fake_cluster import FakeCluster

H100 = "h100-sxm5-80gb"


class Applying(FakeCluster):
    """Keeps what is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[tuple[dict[str, Any], bool]] = []

    async def apply_metadata(
        self,
        _: kinds.ApiResource,
        name: str,
        namespace: str | None,
        *,
        uid: str,
        force: bool = True,
        **metadata: Any,
    ) -> None:
        place = {"name": name, "namespace": namespace, "uid": uid}
        self.applied.append(({**place, **metadata}, force))


@pytest.fixture
def cluster() -> Applying:
    return Applying()


def node(name: str, label: str = "", *, ours: bool = True) -> MetadataRecord:
    labels = {LABEL: label} if label else {}
    return MetadataRecord(name, labels, uid=f"uid-{name}", labelled=bool(label) and ours)


NODES = {
    "new": node("new"),
    "right": node("right", H100),
    "changed": node("changed", "l4-24gb"),
    "theirs": node("theirs", "l4-24gb", ours=False),
    "torn": node("torn", H100),
    "unknown": node("unknown", H100),
    "cpu": node("cpu"),
}
KNOWN = Identification(profile=H100, usable=True)
FOUND = {
    "new": KNOWN,
    "right": KNOWN,
    "changed": KNOWN,
    "theirs": KNOWN,
    "torn": Identification(profile=H100, conflict=(H100, "l4-24gb")),
    "unknown": Identification(gpu_node=True),
    "cpu": Identification(),
}


async def test_only_labels_of_ours_follow_what_a_node_is(
    context: Context, cluster: Applying
) -> None:
    assert await Labelling(context, enabled=True).label(NODES, FOUND)
    written = {body["name"]: body["labels"] for body, _ in cluster.applied}
    assert written == {
        "new": {LABEL: H100},
        "changed": {LABEL: H100},
        "torn": {},
        "unknown": {},
    }
    assert all(body["uid"] == f"uid-{body['name']}" for body, _ in cluster.applied)
    assert not any(force for _, force in cluster.applied), "a label of somebody else stays"


async def test_switched_off_our_labels_go(context: Context, cluster: Applying) -> None:
    assert await Labelling(context, enabled=False).label(NODES, FOUND)
    written = {body["name"]: body["labels"] for body, _ in cluster.applied}
    assert written == {"right": {}, "changed": {}, "torn": {}, "unknown": {}}


def test_our_label_may_stand_for_a_profile_once_it_is_right() -> None:
    found = Identification(profile=H100, terms=(("nvidia.com/gpu.product", "x"),))
    assert told(NODES["right"], found).terms == ((LABEL, H100), *found.terms)
    for other in ("new", "changed", "theirs"):
        assert told(NODES[other], found) is found


def deployment(**annotations: str) -> owners.Description:
    described = owners.describe(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "annotations": annotations},
            "spec": {"template": {"spec": {"containers": []}}},
        }
    )
    assert described is not None
    return described


ESTIMATE = EstimateSummary(
    profile=H100,
    gpu_count=2,
    power_watts=700,
    power_low_watts=600,
    power_high_watts=800,
    duration_seconds=60,
    energy_joules=42_000,
    energy_low_joules=36_000,
    energy_high_joules=48_000,
    method="Calibrated",
)


async def test_a_workload_is_annotated_once(cluster: Applying) -> None:
    wanted = AIWorkloadStatus(estimate=ESTIMATE)
    texts = dict(zip(marks.WORKLOAD_KEYS, ("700", "42000", "48000", "60"), strict=True))
    annotating = Annotating(cluster, enabled=True)  # type: ignore[arg-type]
    await annotating.write(deployment(note="x"), wanted)
    metadata = {"name": "d", "namespace": "n", "uid": "u", "annotations": texts}
    assert cluster.applied == [(metadata, True)]
    await annotating.write(deployment(**texts), wanted)
    await annotating.write(None, wanted)
    assert len(cluster.applied) == 1
    await annotating.write(deployment(**texts), AIWorkloadStatus())
    assert cluster.applied[1][0]["annotations"] == {}, "no estimate, no annotation"


async def test_nothing_is_annotated_unasked(cluster: Applying) -> None:
    annotating = Annotating(cluster, enabled=False)  # type: ignore[arg-type]
    await annotating.write(deployment(), AIWorkloadStatus(estimate=ESTIMATE))
    assert cluster.applied == []
