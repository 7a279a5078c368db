"""Containers of GPU servers as people write them, and what is read of their pods."""

from typing import Any

from energaizer_operator import runtimes

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
