"""What the rest of a pod says of its server: other containers, downloads, limits, odd writing."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator import estimation, runtimes
from energaizer_operator.inputs import Origins, resolve
from energaizer_operator.kubectl import main
from energaizer_operator.resources.energypolicy import PolicyDefaults
from serving_containers import INSTRUCT, KNOWN, KSERVE, LLAMA, LLAMA_CPP, TGI, VLLM, container, read


def test_the_container_with_the_gpu_counts() -> None:
    main = container(VLLM, args=["--model", LLAMA])
    aside = container(VLLM, args=["--model", "other/model"], gpus=0)
    init = container("busybox", ["sh", "-c", "vllm serve c/d"], gpus=0)
    assert read(aside, main, initContainers=[init]) == ({"m": LLAMA}, set())
    assert read(main, main) == ({"m": LLAMA}, set())
    other = container(VLLM, args=["--model", "other/model"])
    assert read(main, other) == ({}, {"m"})
    wider = container(VLLM, args=["--model", LLAMA, "-tp", "2"])
    assert read(main, wider) == ({"m": LLAMA}, {"tp"})


def test_kserve_fetches_the_model_beforehand() -> None:
    init = {"name": "storage-initializer", "args": [f"hf://{LLAMA}:main", "/mnt/models"]}
    for args in (["--model_name=x", "--model_dir=/mnt/models"], ["--model_name=x"]):
        found = read(container(KSERVE, args=args), initContainers=[init])
        assert found == ({"m": LLAMA, "rev": "main"}, set())
    unheard = container("mine/server:1", args=["--port=80"])
    assert read(unheard, initContainers=[init]) == ({"m": LLAMA, "rev": "main"}, set())
    two = container("mine/server:1", gpus=2)
    assert read(two, initContainers=[init]) == ({"m": LLAMA, "rev": "main"}, {"tp"})
    served = container("mine/vllm:1", args=["--model", "/mnt/models"])
    assert read(served, initContainers=[init])[0] == {"m": LLAMA, "rev": "main"}


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (f"huggingface-cli download {INSTRUCT} --local-dir /w --exclude 'original/*'", "/w"),
        (f"pip install -q x && hf download --local-dir=/w --quiet {INSTRUCT}", "/w"),
        (f"git lfs install && git clone https://huggingface.co/{INSTRUCT} /w", "/w"),
        (f"modelscope download --model {INSTRUCT} --local_dir /w", "/w"),
        (
            'python -c "from huggingface_hub import snapshot_download;'
            f" snapshot_download('{INSTRUCT}', local_dir='/w')\"",
            "/w",
        ),
        (f"[ -d /w/a ] || hf download {INSTRUCT} --local-dir /w", "/w/"),
    ],
)
def test_what_is_fetched_beforehand_is_known_by_its_folder(command: str, place: str) -> None:
    init = {"name": "fetch", "command": ["sh", "-c"], "args": [command]}
    main = container(VLLM, args=["--model", place])
    assert read(main, initContainers=[init]) == ({"m": INSTRUCT}, set())
    other = {"name": "other", "command": ["hf", "download", "c/d", "--local-dir", "/w"]}
    assert read(main, initContainers=[init, other]) == ({}, {"m"})


@pytest.mark.parametrize("tool", ["curl -L -o", "wget -O"])
def test_a_file_of_weights_is_known_by_its_address(tool: str) -> None:
    address = "https://huggingface.co/a/Llama-3.1-8B-Instruct-GGUF/resolve/main/x-Q8_0.gguf"
    init = {
        "name": "fetch",
        "command": ["sh", "-c", f"{tool} /m/model.gguf '{address}?download=true'"],
    }
    main = container(LLAMA_CPP, args=["-m", "/m/model.gguf", "-ngl", "99"])
    assert read(main, initContainers=[init]) == ({"m": INSTRUCT, "w": "INT8"}, set())


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("llama-3.1", None),
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B"),
        ("llama3.1", "meta-llama/Llama-3.1-8B"),
        ("llama3.1:latest", "meta-llama/Llama-3.1-8B"),
        ("llama3.1:8b-instruct-q4_K_M", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen2.5:7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("phi4", "microsoft/phi-4"),
        ("deepseek-r1:7b", None),
        ("deepseek-r1", None),
        ("mine/llama3.1-tuned", None),
    ],
)
def test_tags_of_ollama(tag: str, name: str | None) -> None:
    parts = estimation.model_parts()
    assert runtimes.models.tagged_name(tag, parts) == name


def test_ollama_is_told_by_a_hook_or_a_companion() -> None:
    pull = ["/bin/sh", "-c", "sleep 5; ollama pull llama-3.1:8b"]
    hook = {"postStart": {"exec": {"command": pull}}}
    image = "ollama/ollama:0.5.7"
    assert read(container(image, lifecycle=hook))[0] == {"m": LLAMA}
    beside = container(image, pull, env={"OLLAMA_HOST": "localhost"}, gpus=0)
    assert read(container(image), beside)[0] == {"m": LLAMA}
    assert read(container(image), initContainers=[beside])[0] == {"m": LLAMA}
    two = container(image, ["sh", "-c", "ollama pull llama-3.1:8b; ollama pull mistral"], gpus=0)
    assert read(container(image), two) == ({}, {"m", "w"})


def test_what_a_server_allows_at_most_is_read() -> None:
    def ceilings(*containers: dict[str, Any]) -> dict[str, int]:
        return dict(runtimes.read({"containers": list(containers)}, KNOWN).ceilings)

    plain = container(VLLM, args=["--model", LLAMA, "--max-model-len", "auto"])
    few = container(VLLM, args=["--model", LLAMA, "--max-num-seq=4", "--max-model-len", "8192"])
    assert ceilings(plain) == {}
    assert ceilings(few) == {"inference.batchSize": 4, "inference.inputTokens": 8192}
    assert ceilings(few, plain) == {}
    env = {"MODEL_ID": LLAMA, "MAX_TOTAL_TOKENS": "4096"}
    assert ceilings(container(TGI, env=env)) == {"inference.inputTokens": 4096}


def test_a_gpu_that_is_claimed_tells_the_container() -> None:
    main = container(VLLM, args=["--model", LLAMA], gpus=0)
    main["resources"]["claims"] = [{"name": "gpu"}]
    assert read(container("envoy:1", gpus=0), main) == ({"m": LLAMA}, set())


def test_what_is_hidden_hides_a_default_but_no_annotation() -> None:
    defaults = [PolicyDefaults(model_name="gpt2", precision="BF16")]
    why = {"model.name": "is hidden"}
    task = {"task": "Inference"}
    found = resolve(Origins(runtime=task, hidden=why, defaults=defaults, gpus_per_replica=1))
    assert found.inputs.model_name is None
    message = next(one.message for one in found.problems if one.name == "model.name")
    assert message.startswith("model.name is hidden; state it by annotation energaizer.io/model")
    annotated = {"energaizer.io/model": "gpt2"}
    found = resolve(Origins(runtime=task, hidden=why, pod_annotations=annotated))
    assert found.inputs.model_name == "gpt2"


def test_the_example_without_annotations_is_estimated_offline() -> None:
    example = str(Path(__file__).parents[2] / "examples" / "unannotated-vllm.yaml")
    done = CliRunner().invoke(main, ["estimate", "-f", example, "--gpu", "h100-sxm", "-o", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["gpu_count"] == 4


ODD = st.recursive(
    st.none() | st.integers() | st.booleans() | st.text("ab$(){}\\'\"`;&|=- \n#-mc", max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(ODD, ODD, ODD, ODD)
def test_odd_pods_never_raise(image: Any, command: Any, args: Any, env: Any) -> None:
    one = {"image": image, "command": command, "args": args, "env": env, "envFrom": env}
    assert runtimes.read({"containers": [one]}, KNOWN) == runtimes.read(
        {"containers": [one]}, KNOWN
    )
    runtimes.read({"containers": image, "initContainers": args}, KNOWN)


@given(st.text("vlmser $(){}\\'\"`;&|=-\n#", max_size=200))
def test_odd_scripts_never_raise(script: str) -> None:
    runtimes.read({"containers": [container(VLLM, ["sh", "-c", f"vllm serve {script}"])]}, KNOWN)
