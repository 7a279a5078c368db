"""Number formats: how many bytes an element takes and which peak rate multiplies it."""

from enum import StrEnum

RATE_KEYS = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
"""Keys of `Gpu.peak_flops` in the order in which arrays hold them; fp32 runs on CUDA cores."""


class Precision(StrEnum):
    """A number format of operands, weights or cache."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    NVFP4 = "nvfp4"
    MXFP4 = "mxfp4"

    @property
    def bytes_per_element(self) -> float:
        """Bytes of one stored element, block scales included."""
        return _BYTES[self]

    @property
    def rate_key(self) -> str:
        """Key of `Gpu.peak_flops` that multiplies this format; INT4 weights multiply in bf16."""
        return _RATE[self]


# Scales: fp8 one fp32 per 128x128 block, nvfp4 one fp8 per 16 elements, mxfp4 8 bits per 32,
# int4 16 bits per 128.
_BYTES = {
    Precision.FP32: 4.0,
    Precision.TF32: 4.0,
    Precision.FP16: 2.0,
    Precision.BF16: 2.0,
    Precision.FP8: 1.0 + 4.0 / (128 * 128),
    Precision.INT8: 1.0,
    Precision.INT4: 0.5 + 2.0 / 128,
    Precision.NVFP4: 0.5 + 1.0 / 16,
    Precision.MXFP4: 0.5 + 1.0 / 32,
}
_RATE = {
    Precision.FP32: "fp32",
    Precision.TF32: "tf32",
    Precision.FP16: "fp16",
    Precision.BF16: "bf16",
    Precision.FP8: "fp8",
    Precision.INT8: "int8",
    Precision.INT4: "bf16",
    Precision.NVFP4: "fp4",
    Precision.MXFP4: "fp4",
}
