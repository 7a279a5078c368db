"""Annotations of a batch job of known size, as its owner would write them."""

BATCH = {
    "energaizer.io/task": "BatchInference",
    "energaizer.io/model": "meta-llama/Llama-3.1-8B",
    "energaizer.io/precision": "BF16",
    "energaizer.io/batch-size": "16",
    "energaizer.io/input-tokens": "512",
    "energaizer.io/output-tokens": "256",
    "energaizer.io/requests": "1000000",
}
