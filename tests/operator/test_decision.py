import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import steady_physics
from annotated import BATCH
from elsewhere import in_thread
from energaizer_operator import estimation, owners, status
from energaizer_operator.decision import Decision, Subject, World, decide, decide_soon, prepare
from energaizer_operator.estimation import Estimator, Setting
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.names import LABEL_NAMESPACE_NAME, Reason
from energaizer_operator.policy import Action
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile

GPUS = ("h100-sxm5-80gb", "l40s-48gb", "a100-sxm4-80gb")
INPUTS = BATCH
# 1000 s on an H100 at 350 W; an A100 has 2039/3352 of its bandwidth and 200 W, an L40S 864/3352
# and 175 W; all draw half of their limit.
H100_J, A100_J, L40S_J = 350_000, 328_789, 678_936


@pytest.fixture(autouse=True)
def physics(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


@pytest.fixture
def estimator() -> Estimator:
    return Estimator()


def job(resource: str = "nvidia.com/gpu", gpus: int = 1, **pod: Any) -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": {resource: gpus}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": "team-a", "annotations": dict(INPUTS)},
        "spec": {"template": {"spec": {"containers": [container], **pod}}},
    }


def subject(body: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> Subject:
    workload = None
    if spec is not None:
        metadata = {"name": "train", "namespace": "team-a"}
        workload = AIWorkload.model_validate({"metadata": metadata, "spec": spec})
    described = owners.describe(job() if body is None else body)
    return Subject(described, workload, {LABEL_NAMESPACE_NAME: "team-a"})


def world(*policies: dict[str, Any], in_cluster: tuple[str, ...] = GPUS) -> World:
    made = [
        EnergyPolicy.model_validate({"metadata": {"name": f"policy-{index}"}, "spec": spec})
        for index, spec in enumerate(policies)
    ]
    return World.of(estimation.catalogue(), made, in_cluster)


def shown(decided: Decision) -> tuple[str, int]:
    assert decided.shown is not None
    return decided.shown.profile, decided.shown.estimate.energy_joules


def test_the_dearest_possible_gpu_is_charged_and_the_best_is_shown(estimator: Estimator) -> None:
    decided = decide(subject(), world(), estimator)
    assert decided.verdict.action is Action.ALLOW
    assert decided.verdict.charged is not None
    assert decided.verdict.charged.profile == "l40s-48gb"
    assert decided.verdict.charged.estimate.energy_joules == L40S_J
    assert shown(decided) == ("a100-sxm4-80gb", A100_J)
    assert decided.plan.preferred_profiles == ("a100-sxm4-80gb", "h100-sxm5-80gb", "l40s-48gb")
    assert decided.reason is Reason.ESTIMATED
    question = next(q for q in decided.case.questions if q.profile.metadata.name == GPUS[2])
    assert decided.digest == question.digest


@pytest.mark.parametrize(
    "pod",
    [
        {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
        {"nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}},
    ],
)
def test_a_selector_leaves_one_gpu(pod: dict[str, Any], estimator: Estimator) -> None:
    decided = decide(subject(job(**pod)), world(), estimator)
    assert shown(decided) == ("h100-sxm5-80gb", H100_J)
    assert decided.case.reachable == {"h100-sxm5-80gb"}


def test_allowed_profiles_leave_what_they_name(estimator: Estimator) -> None:
    spec = {"accelerator": {"allowedProfiles": ["l40s-48gb"]}}
    decided = decide(subject(spec=spec), world(), estimator)
    assert shown(decided) == ("l40s-48gb", L40S_J)
    assert decided.plan.required


def test_the_vendor_follows_from_the_resource(estimator: Estimator) -> None:
    everywhere = world(in_cluster=(*GPUS, "mi300x-192gb"))
    assert decide(subject(job("amd.com/gpu")), everywhere, estimator).case.reachable == {
        "mi300x-192gb"
    }
    assert "mi300x-192gb" not in decide(subject(), everywhere, estimator).case.reachable


def test_a_refusal_names_a_way_out(estimator: Estimator) -> None:
    limits = {"action": "Deny", "limits": {"maxEnergyJoules": 400_000}}
    decided = decide(subject(), world(limits), estimator)
    assert decided.verdict.action is Action.DENY
    assert "energy policy policy-0: needs 747 kJ" in decided.verdict.message
    assert "Fits: 1 x a100-sxm4-80gb" in decided.verdict.message
    assert decided.verdict.alternative is not None
    assert decided.verdict.alternative.profile == "a100-sxm4-80gb"
    assert len(decided.options) > len(GPUS)


def test_a_cap_is_a_way_out_only_where_it_is_enforced(estimator: Estimator) -> None:
    pod = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}}
    limits = {"action": "Deny", "limits": {"maxPowerWatts": 300}}
    only = world(limits, in_cluster=("h100-sxm5-80gb",))
    assert "Nothing fits" in decide(subject(job(**pod)), only, estimator).verdict.message
    trusted = world({**limits, "declaredCaps": "Trusted"}, in_cluster=("h100-sxm5-80gb",))
    told = decide(subject(job(**pod)), trusted, estimator).verdict
    assert "Fits: 1 x h100-sxm5-80gb at" in told.message


def test_the_users_own_limit_refuses(estimator: Estimator) -> None:
    decided = decide(subject(spec={"limits": {"maxPowerWatts": 100}}), world(), estimator)
    assert decided.verdict.action is Action.DENY
    assert "limits of AIWorkload team-a/train: needs" in decided.verdict.message


def test_a_declared_clock_is_one_more_question() -> None:
    body = job()
    body["metadata"]["annotations"]["energaizer.io/gpu-clock-megahertz"] = "1200"
    case = prepare(subject(body), world())
    assert {question.settings for question in case.questions} == {(Setting(), Setting(1200))}


def test_missing_inputs_are_bounded_and_the_remedy_is_told(estimator: Estimator) -> None:
    body = job()
    del body["metadata"]["annotations"]["energaizer.io/model"]
    decided = decide(subject(body), world({"limits": {"maxEnergyJoules": 10}}), estimator)
    assert decided.reason is Reason.TDP_BOUND_USED
    assert "model.name is missing" in decided.message
    assert decided.verdict.charged is not None
    assert decided.verdict.charged.estimate.energy_joules == 700 * 3600
    assert decided.verdict.action is Action.WARN
    assert not decided.plan.weights
    assert decided.finding.estimated is Reason.TDP_BOUND_USED


def test_an_unknown_model_is_found_outside_the_inputs(estimator: Estimator) -> None:
    body = job()
    body["metadata"]["annotations"]["energaizer.io/model"] = "nobody/nothing"
    decided = decide(subject(body), world(), estimator)
    assert decided.finding.problem is not None
    assert decided.finding.problem[0] is Reason.UNKNOWN_MODEL


def test_what_fits_nowhere_is_infeasible_with_the_reason(estimator: Estimator) -> None:
    body = job()
    body["metadata"]["annotations"]["energaizer.io/model"] = "meta-llama/Llama-3.1-70B"
    decided = decide(subject(body), world(), estimator)
    assert decided.reason is Reason.INFEASIBLE_MEMORY
    assert {option.feasibility for option in decided.options} == {"InsufficientMemory"}


def test_part_of_a_gpu_is_bounded_by_the_whole(estimator: Estimator) -> None:
    decided = decide(subject(job("nvidia.com/mig-1g.10gb")), world(), estimator)
    assert decided.reason is Reason.SHARED_GPU
    assert {option.feasibility for option in decided.options} == {"SharedGPU"}
    assert decided.verdict.charged is not None
    assert decided.verdict.charged.estimate.power_watts == 700


def test_an_unknown_gpu_counts_as_the_hungriest_of_the_cluster(estimator: Estimator) -> None:
    pod = {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A10"}}
    only = World.of(
        [p for p in estimation.catalogue() if p.metadata.name in GPUS], (), ("l40s-48gb", GPUS[0])
    )
    body = job(**pod)
    spec = {"accelerator": {"allowedProfiles": ["made-of-wishes"]}}
    decided = decide(subject(body, spec), only, estimator)
    assert decided.reason is Reason.NO_PROFILE
    assert decided.verdict.charged is not None
    assert decided.verdict.charged.profile == "h100-sxm5-80gb"
    assert decided.verdict.charged.estimate.method == "TDPBound"


def test_pods_on_a_node_that_nobody_described_are_bounded_by_the_hungriest_gpu_of_all(
    estimator: Estimator,
) -> None:
    known = World.of(estimation.catalogue(), in_cluster=("l40s-48gb",))
    landed = replace(subject(), unknown_nodes=("bare-0", "bare-1", "bare-2"))
    decided = decide(landed, known, estimator, wide=True)
    assert decided.shown is not None
    estimate, most = decided.shown.estimate, known.profiles[decided.shown.profile].spec
    nvidia = [one.spec for one in known.profiles.values() if one.spec.vendor == "NVIDIA"]
    hungriest = max(one.thermal_design_power_watts for one in nvidia)
    assert (estimate.method, estimate.power_watts) == ("TDPBound", hungriest)
    assert (most.vendor, most.thermal_design_power_watts) == ("NVIDIA", hungriest)
    assert decided.reason is Reason.NO_PROFILE
    assert "node bare-0 and 2 others, whose GPU no GPUProfile matches" in decided.message
    assert decided.plan.weights == {}


def test_a_cluster_without_profiles_has_no_number_at_all(estimator: Estimator) -> None:
    empty = World.of([], [])
    decided = decide(subject(), empty, estimator)
    assert decided.options == ()
    assert decided.shown is None
    assert decided.reason is Reason.NO_PROFILE
    strict = replace(
        empty, policies=world({"action": "Deny", "limits": {"maxEnergyJoules": 1}}).policies
    )
    assert decide(subject(), strict, estimator).verdict.action is Action.DENY


def test_a_cluster_without_nodes_counts_every_gpu(estimator: Estimator) -> None:
    nowhere = World.of(estimation.catalogue(), [], ())
    decided = decide(subject(), nowhere, estimator)
    assert len(decided.case.reachable) > 10
    assert decided.shown is not None


@pytest.mark.parametrize("change", [{"parallelism": 0}, {"gpus": 0}])
def test_what_runs_nothing_is_idle(change: dict[str, int], estimator: Estimator) -> None:
    body = job(gpus=change.get("gpus", 1))
    body["spec"]["parallelism"] = change.get("parallelism", 1)
    assert decide(subject(body), world(), estimator).case.idle


def test_an_aiworkload_alone_is_judged_by_what_it_says(estimator: Estimator) -> None:
    spec = {
        "task": "BatchInference",
        "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
        "inference": {
            "batchSize": 16,
            "inputTokens": 512,
            "outputTokens": 256,
            "requests": 1000000,
        },
        "accelerator": {"countPerReplica": 1, "allowedProfiles": ["h100-sxm5-80gb"]},
    }
    workload = AIWorkload.model_validate({"metadata": {"name": "a"}, "spec": spec})
    assert shown(decide(Subject(None, workload), world(), estimator)) == (GPUS[0], H100_J)


def test_what_if_of_the_user_is_estimated_when_asked_widely(estimator: Estimator) -> None:
    what_if = {"profiles": ["h200-sxm-141gb"], "clocksMegahertz": [1200, 1410]}
    wide = decide(subject(spec={"whatIf": what_if}), world(), estimator, wide=True)
    found = {option.name: option.feasibility for option in wide.options}
    assert found["h200-sxm-141gb-1200mhz"] == "NotInCluster"
    assert found["h200-sxm-141gb-1410mhz"] == "NotInCluster"
    assert len(wide.options) <= 80


async def test_the_quick_way_and_the_thorough_way_agree(estimator: Estimator) -> None:
    limits = {"action": "Deny", "limits": {"maxEnergyJoules": 400_000}}
    for of_policies in ((), (limits,)):
        seen = world(*of_policies)
        async with in_thread() as line:
            soon = await decide_soon(subject(), seen, TimelyEstimator(line, deadline_s=5.0))
        thorough = decide(subject(), seen, estimator)
        assert soon.verdict == thorough.verdict
        assert soon.plan == thorough.plan
        assert soon.digest == thorough.digest


def test_a_bound_beside_estimates_is_charged_but_never_chosen(estimator: Estimator) -> None:
    datasheet = {"vendor": "NVIDIA", "productNames": ["X1"], "thermalDesignPowerWatts": 1}
    vague = GPUProfile.model_validate({"metadata": {"name": "x1"}, "spec": datasheet})
    body = job()
    body["metadata"]["annotations"]["energaizer.io/requests"] = "100000000"
    limits = {"action": "Deny", "limits": {"maxEnergyJoules": 5000}}
    seen = World.of([*estimation.catalogue(), vague], world(limits).policies, (*GPUS, "x1"))
    decided = decide(subject(body), seen, estimator)
    assert decided.likely is not None
    assert decided.likely.profile == "a100-sxm4-80gb"
    assert decided.verdict.alternative is None
    assert "Nothing fits; the smallest is 1 x a100-sxm4-80gb" in decided.verdict.message


CONFIGURED = {
    "model": {"name": "mine", "source": "HuggingFaceConfig", "configMapRef": {"name": "c"}},
    "accelerator": {"allowedProfiles": ["h100-sxm5-80gb", "l40s-48gb"]},
}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def remembering(estimator: Estimator, generation: int = 1) -> Subject:
    """Return a subject whose configuration is out of reach, and what the controller wrote."""
    body = job()
    del body["metadata"]["annotations"]["energaizer.io/model"]
    made = subject(body, CONFIGURED)
    seen = replace(made, config=json.dumps(CONFIG))
    decided = decide(seen, world(), estimator, wide=True)
    assert made.workload is not None
    written = status.aiworkload_status(made.workload, decided.finding, datetime.now(UTC))
    written = written.model_copy(update={"observed_generation": 1})
    metadata = made.workload.metadata.model_copy(update={"generation": generation})
    return replace(
        made, workload=made.workload.model_copy(update={"status": written, "metadata": metadata})
    )


def test_what_the_controller_wrote_stands_in_for_a_configuration(estimator: Estimator) -> None:
    asked = remembering(estimator)
    decided = decide(asked, world(), estimator)
    assert decided.reason is Reason.ESTIMATED
    assert shown(decided) == ("h100-sxm5-80gb", H100_J)
    assert decided.verdict.charged is not None
    assert decided.verdict.charged.profile == "l40s-48gb"
    assert decided.verdict.charged.estimate.energy_high_joules == pytest.approx(L40S_J * 1.1, 1e-4)
    assert asked.workload is not None
    assert decided.digest == asked.workload.status.inputs_digest


async def test_what_was_written_of_other_inputs_is_not_used(estimator: Estimator) -> None:
    later = remembering(estimator, generation=2)
    assert decide(later, world(), estimator).reason is Reason.TDP_BOUND_USED
    other = remembering(estimator)
    assert other.description is not None
    annotations = {**other.description.annotations, "energaizer.io/requests": "7"}
    changed = replace(other, description=replace(other.description, annotations=annotations))
    async with in_thread() as line:
        decided = await decide_soon(changed, world(), TimelyEstimator(line, deadline_s=5.0))
    assert decided.reason is Reason.TDP_BOUND_USED
    assert "ConfigMap c" in decided.message
