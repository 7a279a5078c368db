"""The runtimes and their documented flags."""

from energaizer_operator.runtimes.records import Call, Input, Runtime

_DTYPES = {
    "float16": "FP16", "half": "FP16", "fp16": "FP16", "bfloat16": "BF16", "bf16": "BF16",
    "float32": "FP32", "float": "FP32", "fp32": "FP32",
}  # fmt: skip
_CACHE = {
    "fp8": "FP8", "fp8_e4m3": "FP8", "fp8_e5m2": "FP8", "fp8_e4m3fn": "FP8",
    "float16": "FP16", "bfloat16": "BF16", "bf16": "BF16", "fp16": "FP16",
}  # fmt: skip
# Methods whose bits are fixed; gptq, bitsandbytes, compressed-tensors and the like are not here.
_WEIGHTS = {
    "awq": "INT4", "awq_marlin": "INT4", "fp8": "FP8", "w8a8_fp8": "FP8", "w8a8_int8": "INT8",
    "modelopt_fp4": "NVFP4", "mxfp4": "MXFP4", "fbgemm_fp8": "FP8",
}  # fmt: skip
_READ = {Input.PRECISION: _DTYPES, Input.CACHE: _CACHE, Input.WEIGHTS: _WEIGHTS}


def _vllm_experts(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """Expert parallelism of vLLM is a switch: as many parts as tensor times data parallelism."""
    switched = "--enable-expert-parallel" in {word.replace("_", "-") for word in call.words}
    if not switched and "-ep" not in call.words:
        return
    if Input.TENSOR in unknown or Input.DATA in unknown:
        unknown[Input.EXPERT] = "follows tensor and data parallelism, which are not known"
    else:
        degrees = (values.get(Input.TENSOR, "1"), values.get(Input.DATA, "1"))
        values[Input.EXPERT] = str(int(degrees[0]) * int(degrees[1]))


def _sglang_attention(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """With data-parallel attention SGLang's replicas lie within the tensor-parallel GPUs."""
    if "--enable-dp-attention" in call.words:
        values.pop(Input.DATA, None)
        unknown.pop(Input.DATA, None)


def _tgi_shards(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """TGI uses all GPUs that it sees, unless it is told how many or not to."""
    if Input.TENSOR in values or Input.TENSOR in unknown:
        return
    if {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"} & call.environment.keys():
        unknown[Input.TENSOR] = "follows which of the GPUs it may see"
        return
    joined = " ".join(call.words).replace("=", " ")
    if "--sharded" in joined or "SHARDED" in call.environment:
        if "--sharded false" not in joined and call.environment.get("SHARDED") != "false":
            unknown[Input.TENSOR] = "is not stated, only that the model is sharded"
    elif call.gpus:
        values[Input.TENSOR] = str(call.gpus)


def _djl_degree(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """A degree of `max` is all GPUs of the container."""
    stated = [text for name, text in call.environment.items() if "TENSOR_PARALLEL_DEGREE" in name]
    if call.gpus and any(text.casefold() == "max" for text in stated):
        values[Input.TENSOR] = str(call.gpus)
        unknown.pop(Input.TENSOR, None)


VLLM = Runtime(
    "vLLM",
    flags={
        "--model": Input.MODEL, "--model-tag": Input.MODEL, "--model-path": Input.MODEL,
        "--revision": Input.REVISION,
        "--dtype": Input.PRECISION, "--quantization": Input.WEIGHTS, "-q": Input.WEIGHTS,
        "--kv-cache-dtype": Input.CACHE,
        "--tensor-parallel-size": Input.TENSOR, "-tp": Input.TENSOR,
        "--pipeline-parallel-size": Input.PIPELINE, "-pp": Input.PIPELINE,
        "--data-parallel-size": Input.DATA, "-dp": Input.DATA,
        "--max-num-seqs": Input.SEQUENCES, "--max-model-len": Input.LENGTH,
    },
    values=_READ,
    images=("vllm",),
    commands=(
        ("vllm", "serve"),
        ("-m", "vllm.entrypoints.openai.api_server"),
        ("-m", "vllm.entrypoints.api_server"),
        ("-m", "vllm.entrypoints.cli.main", "serve"),
        ("-m", "vllm.entrypoints.openai.run_batch"),
        ("vllm", "run-batch"),
        ("-m", "vllm_tgis_adapter"),
        ("-m", "dynamo.vllm"),
        ("-m", "aphrodite.endpoints.openai.api_server"),
        ("aphrodite", "run"),
        ("lmcache_vllm", "serve"),
        ("-m", "fastchat.serve.vllm_worker"),
    ),
    positional=True,
    abbreviates=True,
    switches=frozenset({
        "--trust-remote-code", "--enforce-eager", "--enable-prefix-caching",
        "--enable-chunked-prefill", "--enable-auto-tool-choice", "--enable-expert-parallel",
        "--disable-log-requests", "--enable-lora", "--headless",
    }),
    opaque=frozenset({"--config"}),
    amend=_vllm_experts,
)  # fmt: skip
SGLANG = Runtime(
    "SGLang",
    flags={
        "--model-path": Input.MODEL, "--model": Input.MODEL, "--revision": Input.REVISION,
        "--dtype": Input.PRECISION, "--quantization": Input.WEIGHTS,
        "--kv-cache-dtype": Input.CACHE,
        "--tensor-parallel-size": Input.TENSOR, "--tp-size": Input.TENSOR, "--tp": Input.TENSOR,
        "--pipeline-parallel-size": Input.PIPELINE, "--pp-size": Input.PIPELINE,
        "--data-parallel-size": Input.DATA, "--dp-size": Input.DATA, "--dp": Input.DATA,
        "--expert-parallel-size": Input.EXPERT, "--ep-size": Input.EXPERT, "--ep": Input.EXPERT,
        "--max-running-requests": Input.SEQUENCES, "--context-length": Input.LENGTH,
    },
    values=_READ,
    images=("sglang",),
    commands=(
        ("-m", "sglang.launch_server"), ("sglang", "serve"), ("sglang", "launch_server"),
        ("-m", "sglang_router.launch_server"),
        ("-m", "dynamo.sglang"), ("-m", "dynamo.sglang.worker"),
    ),
    abbreviates=True,
    opaque=frozenset({"--config"}),
    amend=_sglang_attention,
)  # fmt: skip
TGI = Runtime(
    "TGI",
    flags={
        "--model-id": Input.MODEL, "--revision": Input.REVISION, "--num-shard": Input.TENSOR,
        "--dtype": Input.PRECISION, "--quantize": Input.WEIGHTS, "--kv-cache-dtype": Input.CACHE,
        "--max-total-tokens": Input.LENGTH, "--max-batch-size": Input.SEQUENCES,
    },
    variables={
        "MAX_TOTAL_TOKENS": Input.LENGTH, "MAX_BATCH_SIZE": Input.SEQUENCES,
        "MODEL_ID": Input.MODEL, "REVISION": Input.REVISION, "NUM_SHARD": Input.TENSOR,
        "DTYPE": Input.PRECISION, "QUANTIZE": Input.WEIGHTS, "KV_CACHE_DTYPE": Input.CACHE,
    },
    values={
        Input.PRECISION: _DTYPES,
        Input.CACHE: _CACHE,
        Input.WEIGHTS: {
            "awq": "INT4", "bitsandbytes": "INT8", "bitsandbytes-nf4": "INT4",
            "bitsandbytes-fp4": "INT4", "eetq": "INT8", "fp8": "FP8",
        },
    },
    images=("text-generation-inference",),
    commands=(("text-generation-launcher",),),
    amend=_tgi_shards,
)  # fmt: skip
TENSORRT = Runtime(
    "TensorRT-LLM",
    flags={
        "--tp_size": Input.TENSOR, "--pp_size": Input.PIPELINE, "--ep_size": Input.EXPERT,
        "--kv_cache_dtype": Input.CACHE,
        "--max_batch_size": Input.SEQUENCES, "--max_seq_len": Input.LENGTH,
    },
    values=_READ,
    commands=(("trtllm-serve", "serve"), ("trtllm-serve",)),
    positional=True,
    switches=frozenset({"--trust_remote_code"}),
    opaque=frozenset({"--extra_llm_api_options", "--config"}),
)  # fmt: skip
DYNAMO_TENSORRT = Runtime(
    "Dynamo's TensorRT-LLM",
    flags={
        "--model-path": Input.MODEL, "--tensor-parallel-size": Input.TENSOR,
        "--pipeline-parallel-size": Input.PIPELINE, "--expert-parallel-size": Input.EXPERT,
    },
    commands=(("-m", "dynamo.trtllm"),),
    abbreviates=True,
    opaque=frozenset({"--extra-engine-args"}),
)  # fmt: skip
TEI = Runtime(
    "TEI",
    flags={"--model-id": Input.MODEL, "--revision": Input.REVISION, "--dtype": Input.PRECISION},
    variables={"MODEL_ID": Input.MODEL, "REVISION": Input.REVISION, "DTYPE": Input.PRECISION},
    values={Input.PRECISION: _DTYPES},
    images=("text-embeddings-inference",),
    commands=(("text-embeddings-router",),),
)
LMDEPLOY = Runtime(
    "LMDeploy",
    flags={
        "--tp": Input.TENSOR, "--dp": Input.DATA, "--ep": Input.EXPERT,
        "--dtype": Input.PRECISION, "--model-format": Input.WEIGHTS,
        "--quant-policy": Input.CACHE, "--revision": Input.REVISION,
        "--max-batch-size": Input.SEQUENCES, "--session-len": Input.LENGTH,
    },
    values={
        Input.PRECISION: _DTYPES,
        Input.WEIGHTS: {"awq": "INT4", "fp8": "FP8", "mxfp4": "MXFP4", "hf": "", "llama": ""},
        Input.CACHE: {"0": "", "8": "INT8"},
    },
    commands=(("lmdeploy", "serve", "api_server"),),
    positional=True,
)  # fmt: skip
MII = Runtime(
    "DeepSpeed-MII",
    flags={"--model": Input.MODEL, "--tensor-parallel": Input.TENSOR},
    commands=(("-m", "mii.entrypoints.openai_api_server"), ("-m", "mii.entrypoints.api_server")),
)
OLLAMA = Runtime("Ollama", flags={}, commands=(("ollama", "pull"), ("ollama", "run")), spreads=True)
TRITON = Runtime("Triton", flags={}, commands=(("tritonserver",),), images=("tritonserver",))
NIM = Runtime(
    "NIM",
    flags={},
    variables={
        "NIM_MODEL_NAME": Input.MODEL, "NIM_TENSOR_PARALLEL_SIZE": Input.TENSOR,
        "NIM_PIPELINE_PARALLEL_SIZE": Input.PIPELINE,
    },
    spreads=True,
)  # fmt: skip
LLAMA_CPP = Runtime(
    "llama.cpp",
    flags={
        "-hf": Input.MODEL, "-hfr": Input.MODEL, "--hf-repo": Input.MODEL,
        "-m": Input.MODEL, "--model": Input.MODEL,
        "-mu": Input.MODEL, "--model-url": Input.MODEL,
    },
    variables={
        "LLAMA_ARG_MODEL": Input.MODEL, "LLAMA_ARG_MODEL_URL": Input.MODEL,
        "LLAMA_ARG_HF_REPO": Input.MODEL,
    },
    images=("llama.cpp", "llama-cpp", "llama-server"),
    commands=(("llama-server",),),
    spreads=True,
)  # fmt: skip
KSERVE = Runtime(
    "KServe's Hugging Face runtime",
    flags={
        "--model-id": Input.MODEL, "--model-dir": Input.MODEL, "--model-revision": Input.REVISION,
        "--dtype": Input.PRECISION, "--quantization": Input.WEIGHTS,
        "--kv-cache-dtype": Input.CACHE, "--tensor-parallel-size": Input.TENSOR,
        "--pipeline-parallel-size": Input.PIPELINE, "--data-parallel-size": Input.DATA,
        "--max-num-seqs": Input.SEQUENCES, "--max-model-len": Input.LENGTH,
    },
    variables={"MODEL_ID": Input.MODEL},
    values=_READ,
    images=("huggingfaceserver",),
    commands=(("-m", "huggingfaceserver"),),
    abbreviates=True,
    switches=frozenset({"--model-name"}),
)  # fmt: skip
FASTCHAT = Runtime(
    "FastChat",
    flags={
        "--model-path": Input.MODEL, "--revision": Input.REVISION, "--dtype": Input.PRECISION,
    },
    values={Input.PRECISION: _DTYPES},
    commands=(("-m", "fastchat.serve.model_worker"),),
    spreads=True,
)  # fmt: skip
INFINITY = Runtime(
    "Infinity",
    flags={"--model-id": Input.MODEL, "--revision": Input.REVISION, "--dtype": Input.PRECISION},
    variables={"INFINITY_MODEL_ID": Input.MODEL},
    values={Input.PRECISION: _DTYPES},
    images=("infinity",),
    commands=(("infinity_emb", "v2"), ("v2",)),
)
LLAMA_CPP_PYTHON = Runtime(
    "llama-cpp-python",
    flags={"--model": Input.MODEL, "--hf_model_repo_id": Input.MODEL},
    variables={"MODEL": Input.MODEL, "HF_MODEL_REPO_ID": Input.MODEL},
    commands=(("-m", "llama_cpp.server"),),
    spreads=True,
)
DJL = Runtime(
    "DJL Serving",
    flags={},
    variables={
        "HF_MODEL_ID": Input.MODEL, "OPTION_MODEL_ID": Input.MODEL,
        "HF_REVISION": Input.REVISION, "OPTION_REVISION": Input.REVISION,
        "TENSOR_PARALLEL_DEGREE": Input.TENSOR, "OPTION_TENSOR_PARALLEL_DEGREE": Input.TENSOR,
        "OPTION_DTYPE": Input.PRECISION, "OPTION_QUANTIZE": Input.WEIGHTS,
    },
    values=_READ,
    images=("djl-serving", "djl-inference"),
    spreads=True,
    amend=_djl_degree,
)  # fmt: skip
HUGGING_FACE = Runtime(
    "Hugging Face's inference toolkit",
    flags={},
    variables={"HF_MODEL_ID": Input.MODEL, "HF_REVISION": Input.REVISION},
    images=("huggingface-pytorch-inference",),
)
RUNTIMES = (
    *(VLLM, SGLANG, TGI, TEI, TENSORRT, DYNAMO_TENSORRT, LMDEPLOY, MII, FASTCHAT, INFINITY),
    *(TRITON, NIM, LLAMA_CPP, LLAMA_CPP_PYTHON, OLLAMA, KSERVE, DJL, HUGGING_FACE),
)
