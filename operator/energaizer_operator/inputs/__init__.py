"""Which numbers describe a workload, and who said so.

Each field comes from the strongest source that states it (docs/cluster.md, 3.1). A value that
breaks its bounds counts as missing and as a problem: weaker sources do not replace it, because an
estimate made from them would describe another workload. Nothing is ever guessed.
"""

from energaizer_operator.inputs.fields import ANNOTATIONS
from energaizer_operator.inputs.records import (
    Origins,
    Problem,
    Resolution,
    ResolvedInputs,
    inputs_digest,
)
from energaizer_operator.inputs.resolver import resolve

__all__ = [
    "ANNOTATIONS",
    "Origins",
    "Problem",
    "Resolution",
    "ResolvedInputs",
    "inputs_digest",
    "resolve",
]
