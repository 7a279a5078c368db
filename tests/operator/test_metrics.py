from prometheus_client.parser import text_string_to_metric_families

from energaizer_operator.metrics import Metrics, QueueState, WatchState, WorkloadSeries


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
