from energaizer_operator.cluster import Refused
from energaizer_operator.events import Events, Subject
from fake_cluster import FakeCluster

SUBJECT = Subject("energaizer.io/v1alpha1", "AIWorkload", "llama", "team-a", "uid-1")


def writer(cluster: FakeCluster, now: list[float]) -> Events:
    return Events(
        cluster,  # type: ignore[arg-type]
        component="energaizer-controller",
        instance="a",
        interval_s=60.0,
        clock=lambda: now[0],
    )


async def test_one_a_minute_per_object_and_reason() -> None:
    cluster, now = FakeCluster(), [0.0]
    events = writer(cluster, now)
    assert await events.emit(SUBJECT, "EstimateReady", "171 MJ")
    assert not await events.emit(SUBJECT, "EstimateReady", "172 MJ")
    assert await events.emit(SUBJECT, "EstimateFailed", "no model", type_="Warning")
    now[0] = 60.0
    assert await events.emit(SUBJECT, "EstimateReady", "173 MJ")
    assert len(cluster.writes) == 3


async def test_form() -> None:
    cluster = FakeCluster()
    await writer(cluster, [0.0]).emit(SUBJECT, "EstimateReady", "x" * 2000)
    (body,) = cluster.objects.values()
    assert body["apiVersion"] == "events.k8s.io/v1"
    assert body["metadata"]["namespace"] == "team-a"
    assert body["regarding"]["uid"] == "uid-1"
    assert len(body["note"]) == 1024
    assert body["reportingController"] == "energaizer-controller"


async def test_failure_to_write_an_event_fails_nothing() -> None:
    cluster = FakeCluster()
    cluster.fail = Refused("forbidden", 403)
    assert not await writer(cluster, [0.0]).emit(SUBJECT, "EstimateReady", "171 MJ")
