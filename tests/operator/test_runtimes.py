"""Manifests as people write them, runtime by runtime: what is read, and what is not."""

from typing import Any

import pytest

from serving_containers import (
    API,
    INSTRUCT,
    KSERVE,
    LLAMA,
    LLAMA_CPP,
    NIM,
    SECRET,
    SGLANG,
    TGI,
    TRT,
    VLLM,
    container,
    read,
)

STATED = [
    (container(VLLM, ["sh", "-c", "exec vllm serve $1", "--"], [LLAMA]), {"m": LLAMA}),
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
