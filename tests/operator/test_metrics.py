import time
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from energaizer_operator.metrics import (
    BudgetSeries,
    Metrics,
    QueueState,
    WatchState,
    WorkloadSeries,
)
from observability.reference import WORKLOAD, everything


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
    }


def test_series_of_a_workload_come_change_and_go_as_a_whole() -> None:
    metrics = Metrics("1.2.3")
    series = WorkloadSeries(
        gpu_profile="h100",
        task="Inference",
        model="llama",
        precision="BF16",
        method="Calibrated",
        power_w=5100.0,
        energy_j=171e6,
        duration_s=3600.0,
        conditions={"Ready": True, "BudgetReserved": False},
    )
    metrics.workload("team-a", "llama", series)
    page = samples(metrics)
    key = ("h100", "llama", "team-a")
    assert page["energaizer_workload_predicted_power_watts", key] == 5100
    assert page["energaizer_workload_predicted_energy_joules", key] == 171e6
    assert ("energaizer_workload_predicted_energy_per_token_joules", key) not in page
    info = ("BF16", "Calibrated", "Inference", "llama", "llama", "team-a")
    assert page["energaizer_workload_info", info] == 1
    assert page["energaizer_workload_condition", ("Ready", "llama", "team-a")] == 1
    assert page["energaizer_workload_condition", ("BudgetReserved", "llama", "team-a")] == 0
    metrics.workload("team-a", "llama", WorkloadSeries(gpu_profile="a100", power_w=1.0))
    assert ("energaizer_workload_predicted_power_watts", key) not in samples(metrics)
    metrics.workload("team-a", "llama", None)
    assert not [name for name, _ in samples(metrics) if "workload_predicted" in name]


def test_series_of_the_process() -> None:
    metrics = Metrics("1.2.3")
    metrics.leader(leads=True)
    metrics.queue("aiworkload", lambda: QueueState(3, 1.5))
    metrics.watch("pods", lambda: WatchState(True, 1e9))
    metrics.reconcile("aiworkload", "changed", 0.01)
    metrics.admission("pod", "CREATE", "deny", "PolicyDenied", dry_run=False, seconds=0.002)
    metrics.estimate("Calibrated", "Estimated", "Inference", 0.003)
    metrics.estimate_cache(hit=True)
    metrics.certificate("webhook", 2e9)
    page = samples(metrics)
    assert page["energaizer_leader", ()] == 1
    assert page["energaizer_build_info", ("1.2.3",)] == 1
    assert page["energaizer_workqueue_depth", ("aiworkload",)] == 3
    assert page["energaizer_workqueue_oldest_seconds", ("aiworkload",)] == 1.5
    assert page["energaizer_cache_synced", ("pods",)] == 1
    assert page["energaizer_reconcile_total", ("aiworkload", "changed")] == 1
    labels = ("CREATE", "PolicyDenied", "deny", "false", "pod")
    assert page["energaizer_admission_requests_total", labels] == 1
    assert page["energaizer_admission_duration_seconds_count", ("pod",)] == 1
    assert page["energaizer_estimates_total", ("Calibrated", "Estimated")] == 1
    assert page["energaizer_estimate_cache_requests_total", ("hit",)] == 1
    assert page["energaizer_certificate_expiry_timestamp_seconds", ("webhook",)] == 2e9


def test_nodes_have_series_only_once_somebody_looked() -> None:
    metrics = Metrics("1")
    assert not [name for name, _ in samples(metrics) if "node" in name]
    metrics.nodes({"h100-0": "h100"}, unprofiled=2)
    page = samples(metrics)
    assert page["energaizer_node_gpu_profile_info", ("h100", "h100-0")] == 1
    assert page["energaizer_unprofiled_gpu_nodes", ()] == 2


def test_running_share_counts_declared_gpus_and_never_passes_one() -> None:
    metrics = Metrics("1")
    for name, gpus in (("half", 8), ("surge", 2), ("idle", 4), ("unknown", 0)):
        metrics.workload("team-a", name, WorkloadSeries(declared_gpus=gpus))
    metrics.running(lambda: {("team-a", "half"): 4, ("team-a", "surge"): 3, ("team-b", "idle"): 4})
    page = samples(metrics)
    ratio = "energaizer_workload_running_ratio"
    assert page[ratio, ("half", "team-a")] == 0.5
    assert page[ratio, ("surge", "team-a")] == 1.0
    assert page[ratio, ("idle", "team-a")] == 0.0
    assert (ratio, ("team-a", "unknown")) not in page


def test_beyond_the_limit_workloads_are_summed_by_namespace() -> None:
    metrics = Metrics("1", workload_limit=2)
    for number in range(5):
        series = WorkloadSeries(gpu_profile="h100", energy_j=10.0, duration_s=1.0)
        metrics.workload(f"team-{number % 2}", f"w{number}", series)
    page = samples(metrics)
    energy = "energaizer_workload_predicted_energy_joules"
    assert page[energy, ("h100", "team-0", "w0")] == 10
    assert page[energy, ("", "", "team-0")] == 10
    assert page[energy, ("", "", "team-1")] == 20
    assert sum(value for (name, _), value in page.items() if name == energy) == 50
    durations = [labels for name, labels in page if name.endswith("predicted_duration_seconds")]
    assert len(durations) == 2, "seconds do not add up"


def test_an_ended_workload_keeps_its_series_for_an_hour() -> None:
    metrics = Metrics("1")
    for minutes in (59, 61):
        series = WorkloadSeries(gpu_profile="h100", energy_j=1.0, ended=time.time() - 60 * minutes)
        metrics.workload("team-a", f"ended-{minutes}", series)
    shown = [labels for name, labels in samples(metrics) if "predicted_energy_joules" in name]
    assert shown == [("ended-59", "h100", "team-a")]


def test_five_thousand_workloads_stay_within_eighty_thousand_series() -> None:
    """Beside a full house of everything else; candidates, which are opt-in, come on top."""
    metrics = everything()
    conditions = {"Ready": True, "BudgetReserved": True}
    series = replace(WORKLOAD, candidates=(), conditions=conditions)
    for number in range(6000):
        metrics.workload(f"team-{number % 500}", f"w{number}", series)
        metrics.compared((f"team-{number % 500}", f"w{number}"), f"gpu-{number % 27}", "x", "x", 0)
    metrics.nodes({f"node-{number}": "h100" for number in range(5000)}, 0)
    for number in range(500):
        metrics.budgets.records[f"team-{number}", "monthly"] = BudgetSeries(1, 0, 0, 0.0, 0, 0)
        metrics.budgets.held_oldest[f"team-{number}"] = 1.0
    metrics.budgets.unbudgeted = lambda: {f"team-{number}": 1 for number in range(500)}
    page = metrics.page().decode()
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert 65_000 < len(lines) <= 80_000
