"""How long `energaizer validate` takes over 100,000 rows of single kernels, on one core.

Rows are made up: products and attention of four boards, in the columns of a table of kernels.
Prints seconds of wall and processor, and rows per second; the target is a minute.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from energaizer.validation import run

ROWS = 100_000
_BOARDS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm")


def rows(count: int) -> pd.DataFrame:
    """Return so many rows of made-up kernels, each of another shape."""
    random = np.random.default_rng(0)
    product = np.arange(count) % 2 == 0
    heads = 2.0 ** random.integers(3, 7, count)
    return pd.DataFrame(
        {
            "gpu": np.array(_BOARDS)[np.arange(count) % len(_BOARDS)],
            "framework": "vllm",
            "op": np.where(product, "gemm", "attn_ctx"),
            "dtype": "bfloat16",
            "kv_dtype": np.where(product, "", "bfloat16"),
            "m": np.where(product, random.integers(1, 65536, count), 0),
            "n": np.where(product, 128 * random.integers(1, 128, count), 0),
            "k": np.where(product, 128 * random.integers(1, 128, count), 0),
            "batch": np.where(product, 0, random.integers(1, 64, count)),
            "seq_q": np.where(product, 0, random.integers(16, 8192, count)),
            "seq_kv": 0,
            "heads": np.where(product, 0, heads),
            "kv_heads": np.where(product, 0, heads / 4),
            "head_dim": np.where(product, 0, 128),
            "latency_us": 100.0,
            "power_w": 300.0,
            "obs_weight_g": 0.5,
            "power_tier": "A",
        }
    )


def main() -> None:
    """Score the rows and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.parquet"
        rows(ROWS).to_parquet(path)
        before = time.process_time()
        outcome = run.validate(path)
        busy_s = time.process_time() - before
    scored = int((outcome.tables[0].failed == "").sum())
    sys.stdout.write(
        f"{scored} of {ROWS} rows of kernels scored in {outcome.elapsed_s:.1f} s, {busy_s:.1f} s "
        f"of them on the processor ({scored / busy_s:.0f} a second); target: 60 s\n"
    )


if __name__ == "__main__":
    main()
