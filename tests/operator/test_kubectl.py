"""The command line, as a person calls it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import reviewing
import steady_physics
from energaizer import cli
from energaizer_operator import human, kubectl
from energaizer_operator.resources.gpuprofile import GPUProfile
from reviewing import aiworkload, deployment, job, policy

Write = Callable[..., str]
REFERENCE = {"apiVersion": "batch/v1", "kind": "Job", "name": "train"}
COMPLETE = {
    "task": "BatchInference",
    "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
    "inference": {"batchSize": 16, "inputTokens": 512, "outputTokens": 256, "requests": 1000000},
    "accelerator": {"countPerReplica": 1},
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write manifests into a file and return its name."""

    def to_file(*objects: dict[str, Any], name: str = "m.yaml") -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        return str(path)

    return to_file


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


def run(*arguments: str, input: str | None = None) -> Result:  # noqa: A002
    return CliRunner().invoke(kubectl.main, list(arguments), input=input)


def rule(**spec: Any) -> dict[str, Any]:
    made = policy(**spec)
    return {"apiVersion": "energaizer.io/v1alpha1", "kind": "EnergyPolicy", **made}


def test_what_is_wrong_on_every_gpu_is_said_once_and_of_none(write: Write) -> None:
    body = job()
    body["metadata"]["annotations"]["energaizer.io/model"] = "lama-3.1-8b"
    done = run("estimate", "-f", write(body))
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert '(Job train): no model "lama-3.1-8b"; try "llama-3.1-8b"' in line


def test_one_workload_on_one_gpu_is_the_estimators_own_json(write: Write) -> None:
    body = job(parallelism=1, completions=1)
    done = run("estimate", "-f", write(body), "--gpu", "h100", "-o", "json")
    assert done.exit_code == 0, done.output
    command = "estimate --model meta-llama/Llama-3.1-8B --gpu h100 --batch 16 --input-tokens 512"
    command += " --output-tokens 256 --requests 1000000 -o json"
    alone = CliRunner().invoke(cli.main, command.split())
    assert json.loads(done.stdout) == json.loads(alone.stdout)


@pytest.mark.usefixtures("steady")
def test_several_are_a_list_that_names_the_workloads(write: Write) -> None:
    done = run("estimate", "-f", write(job(), deployment(2)), "--gpu", "h100", "-o", "json")
    found = json.loads(done.stdout)
    assert [entry["workload"] for entry in found] == ["Job team-a/train", "Deployment team-a/chat"]
    assert [entry["gpu_count"] for entry in found] == [4, 2]
    assert found[0]["energy"]["value"] == pytest.approx(350_000)


@pytest.mark.usefixtures("steady")
def test_without_a_gpu_all_that_fit_are_compared_by_energy(write: Write) -> None:
    done = run("estimate", "-f", write(job()))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].endswith("m.yaml, document 1 (Job train): meta-llama/Llama-3.1-8B, BF16")
    assert lines[1].split()[:3] == ["GPU", "GPUS", "POWER"]
    names = [line.split()[0] for line in lines[2:] if line]
    assert "h100-sxm5-80gb" in names
    assert "mi300x-192gb" not in names
    assert len(names) > 15


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    ("pod", "extra", "gpus"),
    [
        ({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}}, (), ["l40s-48gb"]),
        ({}, ("--gpu", "l4", "--gpu", "H100"), ["l4-24gb", "h100-sxm5-80gb"]),
    ],
)
def test_the_manifest_or_else_the_option_names_the_gpu(
    write: Write, pod: dict[str, Any], extra: tuple[str, ...], gpus: list[str]
) -> None:
    body = job(template=reviewing.template(**pod))
    done = run("estimate", "-f", write(body), "-o", "json", *extra)
    found = json.loads(done.stdout)
    found = found if isinstance(found, list) else [found]
    assert sorted(entry["gpu"] for entry in found) == sorted(gpus)


@pytest.mark.usefixtures("steady")
def test_allowed_profiles_of_the_aiworkload_in_the_same_file_count(write: Write) -> None:
    described = aiworkload(
        "t", workloadRef=REFERENCE, accelerator={"allowedProfiles": ["a100-sxm4-80gb"]}
    )
    done = run("estimate", "-f", write(job(), described), "-o", "json")
    assert json.loads(done.stdout)["gpu"] == "a100-sxm4-80gb"


@pytest.mark.usefixtures("steady")
def test_a_gpu_of_ones_own_comes_with_the_files(write: Write) -> None:
    manifest = yaml.safe_load(run("profiles", "h100").stdout)
    manifest["metadata"]["name"] = "mine"
    manifest["spec"] |= {"productNames": ["MINE"], "thermalDesignPowerWatts": 500}
    manifest["spec"]["powerCapRange"]["maxWatts"] = 500
    done = run("estimate", "-f", write(job(), manifest), "-o", "json")
    found = json.loads(done.stdout)
    assert (found["gpu"], found["power"]["value"]) == ("mine", 1000.0)


@pytest.mark.usefixtures("steady")
def test_a_configuration_in_a_config_map_describes_the_model(write: Write) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "small", "namespace": reviewing.NAMESPACE},
        "data": {"config.json": json.dumps(config)},
    }
    model = {"source": "HuggingFaceConfig", "configMapRef": {"name": "small"}, "name": "small"}
    body = aiworkload(**{**COMPLETE, "model": {**model, "precision": "BF16"}})
    done = run("estimate", "-f", write(held, body), "--gpu", "h100", "-o", "json")
    assert json.loads(done.stdout)["model"] == "small"
    missing = run("estimate", "-f", write(body), "--gpu", "h100")
    assert missing.exit_code == 2
    assert "ConfigMap small with key config.json is not at hand" in missing.stderr


@pytest.mark.usefixtures("steady")
def test_standard_input_folders_and_out_work(write: Write, tmp_path: Path) -> None:
    text = Path(write(job())).read_text(encoding="utf-8")
    piped = run("estimate", "-f", "-", "--gpu", "h100", "-o", "json", input=text)
    write(job("other"), name="n.yml")
    (tmp_path / "notes.txt").write_text("not: [a manifest")
    out = tmp_path / "out" / ".." / "out.json"
    folder = run("estimate", "-f", str(tmp_path), "--gpu", "h100", "-o", "json")
    assert len(json.loads(folder.stdout)) == 2
    to_file = run("estimate", "-f", write(job()), "--gpu", "h100", "-o", "json", "--out", str(out))
    assert to_file.exit_code == 1
    assert "out.json: No such file or directory" in to_file.stderr
    out = tmp_path / "out.json"
    assert (
        run("estimate", "-f", write(job()), "--gpu", "h100", "-o", "json", "--out", str(out)).stdout
        == ""
    )
    assert json.loads(out.read_text()) == json.loads(piped.stdout)


@pytest.mark.usefixtures("steady")
def test_a_cron_job_is_read_as_the_job_it_makes(write: Write) -> None:
    body = job()
    inputs = body["metadata"].pop("annotations")
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "team-a", "annotations": inputs},
        "spec": {"jobTemplate": {"spec": body["spec"]}},
    }
    done = run("estimate", "-f", write(cron), "--gpu", "h100", "-o", "json")
    assert json.loads(done.stdout)["gpu_count"] == 4


def annotated(**changes: str | None) -> dict[str, Any]:
    body = job()
    for key, text in changes.items():
        name = f"energaizer.io/{key.replace('_', '-')}"
        body["metadata"]["annotations"].pop(name, None)
        if text is not None:
            body["metadata"]["annotations"][name] = text
    return body


@pytest.mark.parametrize(
    ("objects", "extra", "code", "says"),
    [
        ([annotated(batchsize="4")], (), 2, 'did you mean "energaizer.io/batch-size"?'),
        ([annotated(batch_size="many")], (), 2, 'annotation energaizer.io/batch-size is "many"'),
        ([annotated(model=None)], (), 2, "model.name is missing; state it by annotation"),
        ([annotated(model="nobody")], ("--gpu", "h100"), 2, 'no model "nobody"'),
        ([annotated(task="Training")], (), 2, "training.sequenceLength is missing"),
        (
            [annotated(denoising_steps="30")],
            ("--gpu", "h100"),
            2,
            "makes no images; remove denoisingSteps",
        ),
        ([job(gpus=0)], (), 2, "accelerator.countPerReplica is missing"),
        ([job()], ("--gpu", "h100-sxn"), 2, 'no GPU "h100-sxn"; try'),
        ([job()], ("--gpu", "mi300x"), 2, "excludes mi300x-192gb; it allows"),
        (
            [annotated(model="meta-llama/Llama-3.1-70B")],
            ("--gpu", "l4"),
            2,
            "on l4-24gb: ",
        ),
        ([aiworkload(inference={"batchSize": 0})], (), 2, "spec.inference.batchSize: it should be"),
        ([aiworkload(colour="red")], (), 2, "spec.colour: no such field"),
        ([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}], (), 2, "hold no AI"),
        (
            [job(), *(aiworkload(name, workloadRef=REFERENCE) for name in "ab")],
            (),
            2,
            "described by several AIWorkloads (a, b); keep one",
        ),
    ],
)  # fmt: skip
def test_bad_input_says_what_where_and_what_to_do(
    write: Write, objects: list[dict[str, Any]], extra: tuple[str, ...], code: int, says: str
) -> None:
    done = run("estimate", "-f", write(*objects), *extra)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output


def test_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    gone = run("estimate", "-f", str(tmp_path / "gone.yaml"))
    assert (gone.exit_code, "gone.yaml: No such file" in gone.stderr) == (1, True)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert run("estimate", "-f", str(tmp_path / "b.yaml")).exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no .yaml" in run("estimate", "-f", str(empty)).stderr
    assert run("estimate").exit_code == 2


@pytest.mark.usefixtures("steady")
def test_a_refusal_is_exit_code_four_and_names_a_way_out(write: Write) -> None:
    limits = rule(action="Deny", limits={"maxEnergyJoules": 400_000})
    files = ("-f", write(job()), "--policy", write(limits, name="p.yaml"))
    done = run("review", *files, "--gpu", "h100", "--gpu", "l40s")
    assert done.exit_code == 4
    assert done.stdout.startswith("Deny    ")
    assert "energy policy guard: needs" in done.stdout
    assert "Fits: 4 x h100-sxm5-80gb" in done.stdout
    told = run("review", *files, "--gpu", "h100", "--gpu", "l40s", "-o", "json")
    (verdict,) = json.loads(told.stdout)
    assert told.exit_code == 4
    assert verdict["action"] == "Deny"
    assert verdict["charged"]["profile"] == "l40s-48gb"
    assert verdict["alternative"]["profile"] == "h100-sxm5-80gb"
    assert verdict["violations"] == [
        {"owner": "energy policy guard", "limit": "maxEnergyJoules", "action": "Deny"}
    ]


@pytest.mark.usefixtures("steady")
def test_a_file_among_manifests_and_policies_counts_once(write: Write, tmp_path: Path) -> None:
    both = write(job(), aiworkload(**COMPLETE, workloadRef=REFERENCE), rule(action="Warn"))
    done = run("review", "-f", both, "--policies", str(tmp_path), "--gpu", "l4", "-o", "json")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)) == len(
        json.loads(run("review", "-f", both, "--gpu", "l4", "-o", "json").stdout)
    )


def test_what_is_let_in_is_exit_code_zero(write: Write) -> None:
    warn = rule(action="Warn", limits={"maxEnergyJoules": 10})
    done = run("review", "-f", write(job(), warn), "--gpu", "h100")
    assert done.exit_code == 0
    assert done.stdout.startswith("Warn    ")
    assert "warning: energy policy guard" in done.stdout
    elsewhere = rule(
        action="Deny",
        limits={"maxEnergyJoules": 10},
        namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "team-b"}},
    )
    assert run("review", "-f", write(job(), elsewhere), "--gpu", "h100").exit_code == 0
    lonely = run("review", "-f", write(job()), "--gpu", "h100")
    assert "the files hold no EnergyPolicy" in lonely.stderr
    idle = run("review", "-f", write(job(gpus=0), warn))
    assert "asks for no GPU" in idle.stdout


def test_explain_says_who_stated_what(write: Write) -> None:
    body = annotated(output_tokens=None)
    done = run("explain", "-f", write(body))
    assert done.exit_code == 0
    assert "model.name              meta-llama/Llama-3.1-8B   OwnerAnnotations" in done.stdout
    assert "! inference.outputTokens is missing" in done.stdout
    (told,) = json.loads(run("explain", "-f", write(body), "-o", "json").stdout)
    assert {"name": "model.precision", "value": "BF16", "source": "OwnerAnnotations"} in told[
        "inputs"
    ]


def test_the_catalogue_is_printed_as_manifests_that_can_be_applied() -> None:
    manifests = list(yaml.safe_load_all(run("profiles").stdout))
    assert len(manifests) > 20
    for manifest in manifests:
        assert GPUProfile.model_validate(manifest).metadata.name == manifest["metadata"]["name"]
        assert "status" not in manifest
    listed = json.loads(run("profiles", "h100", "l40s", "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["h100-sxm5-80gb", "l40s-48gb"]
    assert "H100-80GB-HBM3" in run("profiles", "-o", "table").stdout
    assert run("profiles", "nothing").exit_code == 2


def test_durations_are_told_as_people_do() -> None:
    texts = {12.64: "12.6 s", 1878: "31 min 18 s", 23100: "6 h 25 min", 0.0123: "0.0123 s"}
    for seconds, text in texts.items():
        assert human.duration(seconds) == text


def purse(limit: int, action: str = "Deny", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "EnergyBudget",
        "metadata": {"name": "monthly", "namespace": "team-a"},
        "spec": {"limitJoules": limit, "window": {"period": "Month"}, "action": action},
        "status": status,
    }


@pytest.mark.usefixtures("steady")
def test_manifests_are_charged_to_a_budget_one_after_the_other(write: Write) -> None:
    jobs = write(job("a"), job("b"), job("c"), name="jobs.yaml")
    alone = run("review", "-f", jobs, "--gpu", "h100", "-o", "json")
    need = json.loads(alone.stdout)[0]["charged"]["energyHighJoules"]

    def verdicts(*budgets: dict[str, Any]) -> tuple[int, list[str], str]:
        rules = write(*budgets, name="rules.yaml")
        done = run("review", "-f", jobs, "--policies", rules, "--gpu", "h100", "-o", "json")
        found = json.loads(done.stdout)
        return done.exit_code, [one["action"] for one in found], found[-1]["message"]

    code, actions, message = verdicts(purse(5 * need // 2))
    assert (code, actions) == (4, ["Allow", "Allow", "Deny"])
    assert message.startswith("energy budget team-a/monthly: needs ")
    assert " remain until 20" in message
    spent = purse(5 * need // 2, observedGeneration=1, consumedJoules=need, reservedJoules=need)
    assert verdicts(spent)[:2] == (4, ["Deny", "Deny", "Deny"])
    assert verdicts(purse(5 * need // 2, "Hold"))[:2] == (0, ["Allow", "Allow", "Hold"])
    assert verdicts(purse(5 * need // 2, "Warn"))[:2] == (0, ["Allow", "Allow", "Warn"])
    broken = purse(1)
    broken["spec"]["window"]["timeZone"] = "Mars/Base"
    code, actions, message = verdicts(broken)
    assert (code, actions) == (4, ["Deny"] * 3)
    assert "is no IANA time zone" in message


@pytest.mark.usefixtures("steady")
def test_what_cannot_be_held_is_refused_and_offered_fewer_replicas(write: Write) -> None:
    serving = write(deployment(4), name="serving.yaml")
    window = {"type": "Rolling", "seconds": 3600}
    four = run("review", "-f", serving, "--gpu", "h100", "-o", "json")
    watts = json.loads(four.stdout)[0]["charged"]["powerHighWatts"]
    rules = purse(watts * 3600 * 3 // 4, "Hold")  # three pods, one of them for roll-outs
    rules["spec"]["window"] = window
    done = run("review", "-f", serving, "--policies", write(rules), "--gpu", "h100")
    assert done.exit_code == 4
    assert "a Deployment cannot be held" in done.stdout or "this Deployment cannot" in done.stdout
    assert "with 1 more while it rolls over" in done.stdout
    assert "(2 of 4 replicas)" in done.stdout
    assert "run 2 replicas" in done.stdout
