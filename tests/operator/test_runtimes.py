"""Manifests as people write them, runtime by runtime: what is read, and what is not."""

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

LLAMA, INSTRUCT = "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"
KNOWN = runtimes.last_parts(
    {
        LLAMA: LLAMA,
        INSTRUCT: LLAMA,
        "llama-3.1-8b": LLAMA,
        "Qwen/Qwen2.5-7B-Instruct": "Qwen/Qwen2.5-7B-Instruct",
        "one/twin": "one/twin",
        "two/twin": "two/twin",
    }
)
VLLM, SGLANG = "vllm/vllm-openai:v0.11.0", "lmsysorg/sglang:latest"
TGI = "ghcr.io/huggingface/text-generation-inference:3.3.4"
TRT = "nvcr.io/nvidia/tensorrt-llm/release:1.0.0"
NIM = "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.4"
LLAMA_CPP = "ghcr.io/ggml-org/llama.cpp:server-cuda"
KSERVE = "kserve/huggingfaceserver:v0.15.0-gpu"
API = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
SECRET = {"name": "M", "valueFrom": {"secretKeyRef": {"name": "s", "key": "model"}}}
SHORT = {
    "model.name": "m",
    "model.revision": "rev",
    "model.precision": "p",
    "model.weightPrecision": "w",
    "model.keyValueCachePrecision": "kv",
    "parallelism.tensor": "tp",
    "parallelism.pipeline": "pp",
    "parallelism.data": "dp",
    "parallelism.expert": "ep",
}


def container(
    image: str,
    command: list[str] | None = None,
    args: list[Any] | None = None,
    env: dict[str, str] | list[dict[str, Any]] | None = None,
    gpus: int = 1,
    **more: Any,
) -> dict[str, Any]:
    entries = [{"name": k, "value": v} for k, v in env.items()] if isinstance(env, dict) else env
    limits = {"nvidia.com/gpu": gpus} if gpus else {"cpu": "1"}
    found = {"name": "main", "image": image, "resources": {"limits": limits}, **more}
    parts = (("command", command), ("args", args), ("env", entries))
    return found | {key: value for key, value in parts if value is not None}


def read(*containers: dict[str, Any], **pod: Any) -> tuple[dict[str, str], set[str]]:
    found = runtimes.read({"containers": list(containers), **pod}, KNOWN)
    values = {SHORT[key]: text for key, text in found.values.items() if key != "task"}
    assert (found.values.get("task") == "Inference") or not values
    return values, {SHORT[key] for key in found.unknown}


STATED = [
    (container(VLLM, args=["--model", LLAMA]), {"m": LLAMA}),
    (container(VLLM, args=[f"--model={LLAMA}", "--dtype=half"]), {"m": LLAMA, "p": "FP16"}),
    (container(VLLM, args=[LLAMA, "-tp", "4"], gpus=4), {"m": LLAMA, "tp": "4"}),
    (container(VLLM, ["vllm", "serve", LLAMA, "--dtype", "auto"]), {"m": LLAMA}),
    (container(VLLM, ["vllm"], ["serve", LLAMA, "-q", "fp8"]), {"m": LLAMA, "w": "FP8"}),
    (container("mine:1", [*API, "--model", LLAMA, "-pp=2"]), {"m": LLAMA, "pp": "2"}),
    (
        container(
            "us-docker.pkg.dev/vertex-ai/pytorch-vllm-serve:1",
            ["python3", "-m", "vllm.entrypoints.openai.api_server"],
            ["--model=$(MODEL_ID)", "--tensor-parallel-size=$(TP)"],
            {"MODEL_ID": LLAMA, "TP": "2"},
        ),
        {"m": LLAMA, "tp": "2"},
    ),
    (container(VLLM, args=["--model", "$(A)"], env={"B": LLAMA, "A": "$(B)"}), {"m": LLAMA}),
    (
        container(VLLM, ["sh", "-c"], [f"vllm serve {LLAMA} \\\n  --tensor_parallel_size 2"]),
        {"m": LLAMA, "tp": "2"},
    ),
    (
        container(
            VLLM, ["/bin/bash", "-lc", f"pip install x && HF_HOME=/d exec vllm serve '{LLAMA}'"]
        ),
        {"m": LLAMA},
    ),
    (
        container(
            VLLM,
            ["bash", "-euo", "pipefail", "-c"],
            ['M=${MODEL}\nvllm serve "$M" --max-model-len 4096 2>&1 | tee log  # run'],
            {"MODEL": LLAMA},
        ),
        {"m": LLAMA},
    ),
    (
        container(
            VLLM, ["sh", "-c", "vllm serve $MODEL $OPTS"], None, {"MODEL": LLAMA, "OPTS": "-tp 2"}
        ),
        {"m": LLAMA, "tp": "2"},
    ),
    (
        container(VLLM, args=["--model", LLAMA, "--kv-cache-dtype", "fp8_e5m2", "--revision=abc"]),
        {"m": LLAMA, "kv": "FP8", "rev": "abc"},
    ),
    (container(VLLM, args=["--model", LLAMA, "--tensor-parallel", "8"]), {"m": LLAMA, "tp": "8"}),
    (
        container(
            VLLM,
            args=["--model", "x/moe", "-tp=2", "-dp=4", "--enable-expert-parallel"],
        ),
        {"m": "x/moe", "tp": "2", "dp": "4", "ep": "8"},
    ),
    (container(VLLM, args=["--model", f"/models/{LLAMA}/"]), {"m": LLAMA}),
    (
        container(VLLM, args=["--model=/c/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a1"]),
        {"m": "Qwen/Qwen2.5-7B-Instruct"},
    ),
    (container("rocm/vllm:6.4", ["vllm", "serve", f"hf://{LLAMA}"]), {"m": LLAMA}),
    (container("m:1", ["tini", "--", "uv", "run", "vllm", "serve", LLAMA]), {"m": LLAMA}),
    (
        container(VLLM, ["vllm", "serve", "--trust-remote-code", "--dtype", "bfloat16", LLAMA]),
        {"m": LLAMA, "p": "BF16"},
    ),
    (
        container(
            SGLANG,
            ["python3", "-m", "sglang.launch_server"],
            ["--model-path", LLAMA, "--tp", "4", "--host", "0.0.0.0"],
        ),
        {"m": LLAMA, "tp": "4"},
    ),
    (
        container(
            SGLANG,
            ["bash", "-c", f"python3 -m sglang.launch_server --model-path={LLAMA} --dp-size=2"],
        ),
        {"m": LLAMA, "dp": "2"},
    ),
    (
        container(
            SGLANG,
            ["python", "-m", "sglang.launch_server", "--model-path", "a/b"],
            ["--tp-size", "8", "--dp", "8", "--enable-dp-attention", "--ep", "8"],
        ),
        {"m": "a/b", "tp": "8", "ep": "8"},
    ),
    (
        container(SGLANG, args=["--model", LLAMA, "--quantization", "awq"]),
        {"m": LLAMA, "w": "INT4"},
    ),
    (container(TGI, args=["--model-id", LLAMA]), {"m": LLAMA, "tp": "1"}),
    (container(TGI, env={"MODEL_ID": LLAMA}, gpus=4), {"m": LLAMA, "tp": "4"}),
    (
        container(TGI, env={"MODEL_ID": LLAMA, "NUM_SHARD": "2", "QUANTIZE": "eetq"}, gpus=4),
        {"m": LLAMA, "tp": "2", "w": "INT8"},
    ),
    (
        container(TGI, args=["--model-id=$(M)", "--num-shard", "2"], env={"M": LLAMA}),
        {"m": LLAMA, "tp": "2"},
    ),
    (
        container(TGI, ["text-generation-launcher", "--sharded", "false", "--model-id", LLAMA]),
        {"m": LLAMA},
    ),
    (
        container(TRT, ["trtllm-serve", LLAMA, "--tp_size", "2", "--host", "0.0.0.0"]),
        {"m": LLAMA, "tp": "2"},
    ),
    (
        container(TRT, ["/bin/sh", "-c"], [f"trtllm-serve serve {LLAMA} --pp_size=2"]),
        {"m": LLAMA, "pp": "2"},
    ),
    (container(NIM), {"m": INSTRUCT}),
    (container("registry.local:5000/nim/mistralai/new-model:2"), {"m": "mistralai/new-model"}),
    (
        container("nvcr.io/nim/nvidia/llm-nim:1.12", env={"NIM_MODEL_NAME": f"hf://{LLAMA}"}),
        {"m": LLAMA},
    ),
    (
        container(LLAMA_CPP, args=["-hf", "bartowski/Llama-3.1-8B-Instruct-GGUF:Q8_0", "-np", "4"]),
        {"m": INSTRUCT, "w": "INT8"},
    ),
    (
        container(
            LLAMA_CPP, ["/app/llama-server", "-m", "/models/Llama-3.1-8B-Instruct-Q4_0.gguf"]
        ),
        {"m": INSTRUCT, "w": "INT4"},
    ),
    (
        container(LLAMA_CPP, env={"LLAMA_ARG_HF_REPO": "a/Llama-3.1-8B-GGUF:F16"}),
        {"m": LLAMA, "w": "FP16"},
    ),
    (
        container(KSERVE, args=["--model_name=llama3", f"--model_id={LLAMA}", "--dtype=bfloat16"]),
        {"m": LLAMA, "p": "BF16"},
    ),
    (
        container(KSERVE, ["python3", "-m", "huggingfaceserver"], ["--model_id", LLAMA]),
        {"m": LLAMA},
    ),
    (
        container(VLLM, args=[f"--model {LLAMA}", "-tp 2 --dtype=half"]),
        {"m": LLAMA, "tp": "2", "p": "FP16"},
    ),
    (
        container(
            VLLM, ["sh", "-c", f"cat <<EOF > c.yaml\nvllm serve c/d\nEOF\nvllm serve {LLAMA}"]
        ),
        {"m": LLAMA},
    ),
    (
        container(
            SGLANG,
            ["numactl", "-N", "0", "python3", "-m", "sglang.launch_server", "--model", LLAMA],
        ),
        {"m": LLAMA},
    ),
    (
        container(
            TRT,
            [
                "sh",
                "-c",
                f"mpirun -n 16 trtllm-llmapi-launch trtllm-serve {LLAMA} --tp_size 16",
            ],
        ),
        {"m": LLAMA, "tp": "16"},
    ),
    (container(VLLM, ["uv", "run", "--with", "vllm", "vllm", "serve", LLAMA]), {"m": LLAMA}),
    (
        container(VLLM, ["vllm", "serve", f"https://huggingface.co/{LLAMA}/tree/main"]),
        {"m": LLAMA, "rev": "main"},
    ),
    (
        container(VLLM, ["sh", "-c", f"vllm serve ${{M:-{LLAMA}}} -tp ${{TP:-2}}"]),
        {"m": LLAMA, "tp": "2"},
    ),
    (container(VLLM, args=["serve", LLAMA]), {"m": LLAMA}),
    (
        container(VLLM, ["bash", "-c", f"vllm serve {LLAMA} -tp $(nvidia-smi -L | wc -l)"], gpus=4),
        {"m": LLAMA, "tp": "4"},
    ),
    (
        container(VLLM, ["sh", "-c", 'exec vllm serve "$@"', "--"], [LLAMA, "-tp", "2"]),
        {"m": LLAMA, "tp": "2"},
    ),
    (container("nvcr.io/nim/meta/llama-3.1-8b-instruct-pb24h2:1.3"), {"m": INSTRUCT}),
    (container("michaelf34/infinity:0.0.70", args=["v2", "--model-id", "a/b"]), {"m": "a/b"}),
    (
        container(
            "deepjavalibrary/djl-serving:0.30.0-lmi",
            env={"HF_MODEL_ID": LLAMA, "TENSOR_PARALLEL_DEGREE": "max"},
            gpus=4,
        ),
        {"m": LLAMA, "tp": "4"},
    ),
    (
        container(
            "mine:1", ["python3", "-m", "fastchat.serve.model_worker", "--model-path", "a/b"]
        ),
        {"m": "a/b"},
    ),
    (
        container(
            "mine:1", ["python3", "-m", "llama_cpp.server", "--model", "/m/Llama-3.1-8B.Q8_0.gguf"]
        ),
        {"m": LLAMA, "w": "INT8"},
    ),
]


@pytest.mark.parametrize(("main", "values"), STATED)
def test_what_the_arguments_state_is_read(main: dict[str, Any], values: dict[str, str]) -> None:
    assert read(main) == (values, set())


MISSING = [
    (container(VLLM, args=["--model=$(M)"], env=[SECRET]), {"m"}),
    (container(VLLM, args=["--model=$(M)"], envFrom=[{"configMapRef": {"name": "c"}}]), {"m"}),
    (container(VLLM, args=["--model=$$(M)"], env={"M": LLAMA}), {"m"}),
    (container(VLLM, args=["--model", "{{ .Values.model }}"]), {"m"}),
    (container(VLLM, args=["--model", "<MODEL>"]), {"m"}),
    (container(VLLM, args=["--model", "YOUR_MODEL"]), {"m"}),
    (container(VLLM, args=["--model", "/mnt/models"]), {"m"}),
    (container(VLLM, args=["--model", "/models/twin"]), {"m"}),
    (container(VLLM, args=["--model", "s3://bucket/finetuned-7"]), {"m"}),
    (container(VLLM, args=["--config", "/etc/vllm.yaml"]), {"m", "tp"}),
    (container(VLLM, ["sh", "-c", "vllm serve $MODEL"]), {"m"}),
    (container(VLLM, ["sh", "-c", "vllm serve $(cat /model)"]), {"m"}),
    (container(VLLM, ["sh", "-c", "vllm serve '$MODEL'"], None, {"MODEL": LLAMA}), {"m"}),
    (container(VLLM, ["sh", "-c", "if a; then M=x; else M=y; fi; vllm serve $M"]), {"m"}),
    (container(VLLM, ["sh", "-c", "vllm serve ${LWS_MODEL:-gpt2}"]), {"m"}),
    (
        container(
            VLLM,
            ["sh", "-c", "vllm serve ${OURS:-gpt2}"],
            envFrom=[{"secretRef": {"name": "s"}}],
        ),
        {"m"},
    ),
    (container(VLLM, ["sh", "-c", "exec vllm serve $1", "--"], [LLAMA]), {"m"}),
    (container(VLLM, ["sh", "-c", 'exec vllm serve "$@"', "--"], ["$(M)"], [SECRET]), {"m"}),
    (container(VLLM, args=["bench", "serve", "--model", LLAMA]), set()),
    (container(VLLM, ["sh", "-c", "vllm serve a/b & vllm serve c/d"]), {"m"}),
    (container(VLLM, args=["--model", "models/finetuned"]), {"m"}),
    (container(VLLM, args=["--model", "MODEL_NAME"]), {"m"}),
    (container(VLLM, args=["--model", "your-username/your-model"]), {"m"}),
    (container(VLLM, args=["--model", "path/to"]), {"m"}),
    (container(TGI, env=[{**SECRET, "name": "MODEL_ID"}]), {"m"}),
    (container(KSERVE, args=["--model_name=llama-3.1-8b"]), set()),
    (
        container("nvcr.io/nvidia/tritonserver:25.01", ["tritonserver", "--model-repository=/m"]),
        set(),
    ),
    (container("mine/train:1", ["python", "train.py", "--model", LLAMA]), set()),
    (container(VLLM, ["/start.sh"], ["--model", LLAMA]), set()),
    (container("vllm/vllm-router:1", args=["--model", LLAMA]), set()),
    (container(VLLM, ["sh", "-c", "cat <<E > run\nvllm serve a/b\nE\nsh run"]), set()),
    (container(VLLM, ["vllm", "serve", "--served-model-name", "a", "b"]), set()),
    (container(VLLM, ["vllm", "bench", "--model", LLAMA]), set()),
]


@pytest.mark.parametrize(("main", "unknown"), MISSING)
def test_what_is_not_literal_is_missing(main: dict[str, Any], unknown: set[str]) -> None:
    values, found = read(main)
    assert "m" not in values
    assert found >= unknown


@pytest.mark.parametrize(
    ("main", "unknown"),
    [
        (container(VLLM, args=["--model", LLAMA, "-tp", "$(TP)"]), "tp"),
        (container(VLLM, args=["--model", LLAMA, "-q", "gptq"]), "w"),
        (container(VLLM, args=["--model", LLAMA, "$(EXTRA)"], env=[SECRET]), "tp"),
        (container(VLLM, args=["--model", LLAMA, "-tp=$(M)"], env=[SECRET]), "tp"),
        (container(NIM, gpus=2), "tp"),
        (container(LLAMA_CPP, args=["-hf", "a/Llama-3.1-8B-GGUF:Q4_K_M"]), "w"),
        (
            container(TGI, args=["--model-id", LLAMA], env={"CUDA_VISIBLE_DEVICES": "0"}, gpus=2),
            "tp",
        ),
        (container(TGI, args=["--model-id", LLAMA], env=[{**SECRET, "name": "NUM_SHARD"}]), "tp"),
    ],
)
def test_a_degree_or_width_that_is_hidden_is_not_taken_for_its_default(
    main: dict[str, Any], unknown: str
) -> None:
    values, found = read(main)
    assert values["m"] in (LLAMA, INSTRUCT)
    assert unknown in found
    assert unknown not in values


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
