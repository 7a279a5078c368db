"""A batch job of known size: annotations as its owner would write them, and inputs resolved."""

from energaizer_operator.inputs import ResolvedInputs

BATCH = {
    "energaizer.io/task": "BatchInference",
    "energaizer.io/model": "meta-llama/Llama-3.1-8B",
    "energaizer.io/precision": "BF16",
    "energaizer.io/batch-size": "16",
    "energaizer.io/input-tokens": "512",
    "energaizer.io/output-tokens": "256",
    "energaizer.io/requests": "1000000",
}

LLAMA = ResolvedInputs(
    task="BatchInference",
    model_name="meta-llama/Llama-3.1-8B",
    precision="BF16",
    batch_size=16,
    input_tokens=512,
    output_tokens=256,
    requests=1000,
    gpus_per_replica=1,
)
