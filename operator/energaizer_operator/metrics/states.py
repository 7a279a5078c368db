"""Series of nodes, queues and watches: asked at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_P = "energaizer_"


@dataclass(frozen=True, slots=True)
class QueueState:
    """Depth of a work queue and age of its oldest key, s."""

    depth: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class WatchState:
    """Whether a cache is complete and when its watch last heard anything, epoch seconds."""

    synced: bool
    last_event: float


class Nodes(Collector):
    """Profile of each GPU node, and how many have none."""

    def __init__(self) -> None:
        """Begin without nodes."""
        self.profiles: dict[str, str] | None = None
        self.unprofiled = 0
        self.conflicting = 0
        self.unwatted: int | None = None
        """Pods whose power no node counts; None where power is no resource."""

    def collect(self) -> Iterable[Metric]:
        """Yield the families of nodes, once a leader has matched them."""
        if self.profiles is None:
            return
        info = GaugeMetricFamily(
            f"{_P}node_gpu_profile_info", "Profile of a GPU node.", labels=["node", "gpu_profile"]
        )
        for node, profile in sorted(self.profiles.items()):
            info.add_metric([node, profile], 1)
        yield info
        yield GaugeMetricFamily(
            f"{_P}unprofiled_gpu_nodes", "GPU nodes that no GPUProfile matches.", self.unprofiled
        )
        yield GaugeMetricFamily(
            f"{_P}conflicting_gpu_nodes",
            "GPU nodes whose labels name several GPUs.",
            self.conflicting,
        )
        if self.unwatted is not None:
            yield GaugeMetricFamily(
                f"{_P}unwatted_pods",
                "GPU pods that request no watts, where power is a resource.",
                self.unwatted,
            )


class States(Collector):
    """Queues and caches, asked at scrape time."""

    def __init__(self) -> None:
        """Begin without queues and watches."""
        self.queues: dict[str, Callable[[], QueueState]] = {}
        self.watches: dict[str, Callable[[], WatchState]] = {}

    def collect(self) -> Iterable[Metric]:
        """Yield depth and age of queues, freshness of caches."""
        depth = GaugeMetricFamily(
            f"{_P}workqueue_depth", "Keys that wait for a worker.", labels=["controller"]
        )
        oldest = GaugeMetricFamily(
            f"{_P}workqueue_oldest_seconds", "Wait of the oldest due key.", labels=["controller"]
        )
        for name, ask in self.queues.items():
            depth.add_metric([name], ask().depth)
            oldest.add_metric([name], ask().oldest_s)
        synced = GaugeMetricFamily(
            f"{_P}cache_synced", "1 once the first list is complete.", labels=["resource"]
        )
        last = GaugeMetricFamily(
            f"{_P}watch_last_event_timestamp_seconds",
            "When the watch last brought an event or bookmark.",
            labels=["resource"],
        )
        for name, look in self.watches.items():
            synced.add_metric([name], float(look().synced))
            last.add_metric([name], look().last_event)
        yield from (depth, oldest, synced, last)
