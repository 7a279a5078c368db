"""Cases as PyTorch work on a GPU: models with random weights, nothing is downloaded."""

from collections.abc import Callable
from typing import Any

from energaizer import catalog
from energaizer.collection.cases import Case, Forward
from energaizer.collection.measuring import NoRoomError, SensorError
from energaizer.errors import InputError
from energaizer.model import Model

_NAMES = {"bert": "bert-large", "gpt2": "gpt2", "opt": "opt-1.3b"}
_TYPES = {"bf16": "bfloat16", "bfloat16": "bfloat16", "fp32": "float32"}
_MOST_TOKENS = 2048


class Framework:
    """The user's own PyTorch on one board."""

    def __init__(self, uuid: str, *, models: bool) -> None:
        """Find the board by its identity.

        Args:
            uuid: As NVML reports it.
            models: Whether forward passes are asked for, which need transformers.

        Raises:
            SensorError: A library is missing, or sees no such GPU.
        """
        try:
            import torch  # noqa: PLC0415

            if models:
                import transformers  # noqa: PLC0415

                self._transformers: Any = transformers
        except ImportError as error:
            raise SensorError(
                f"running workloads needs {error.name}; install the build for your driver "
                f"(https://pytorch.org), e.g. pip install torch transformers"
            ) from error
        self._torch: Any = torch
        if not torch.cuda.is_available():
            raise SensorError("PyTorch sees no GPU; install a build with CUDA for your driver")
        found = [
            index
            for index in range(torch.cuda.device_count())
            if str(getattr(torch.cuda.get_device_properties(index), "uuid", "")) in uuid
        ]
        if not found:
            raise SensorError(
                f"PyTorch does not see GPU {uuid}; check CUDA_VISIBLE_DEVICES and --gpu-index"
            )
        self._device = torch.device("cuda", found[0])

    def make(self, case: Case) -> "Program":
        """Return a case, ready to run.

        Raises:
            NoRoomError: It does not fit into the memory of the board.
        """
        torch = self._torch
        try:
            call = self._forward(case) if isinstance(case, Forward) else self._kernel(case)
        except torch.cuda.OutOfMemoryError as error:
            raise NoRoomError(f"{case} does not fit into memory") from error
        return Program(torch, self._device, call, each=isinstance(case, Forward))

    def _forward(self, case: Forward) -> Callable[[], Any]:
        torch, device = self._torch, self._device
        kind = getattr(torch, _TYPES[case.precision])
        model = self._model(case).to(device=device, dtype=kind).eval()
        if case.seq:
            given = torch.randint(0, 1000, (case.batch, case.seq), device=device)
            return lambda: model(input_ids=given)
        size = model.config.image_size
        images = torch.randn(case.batch, 3, size, size, device=device, dtype=kind)
        return lambda: model(pixel_values=images)

    def _model(self, case: Forward) -> Any:
        library = self._transformers
        eager = {"attn_implementation": "eager"}
        if case.model == "vit":
            sizes = library.ViTConfig(
                hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
                intermediate_size=4096, **eager,
            )  # fmt: skip
            return library.ViTModel(sizes)
        model = catalog.model(_NAMES[case.model])
        if not isinstance(model, Model):
            raise InputError(f"{case.model} is no language model; collect has no way to build it")
        if case.model == "bert":
            return library.BertModel(
                library.BertConfig(
                    hidden_size=model.hidden_size, num_hidden_layers=model.layers,
                    num_attention_heads=model.attention_heads,
                    intermediate_size=model.intermediate_size, **eager,
                )
            )  # fmt: skip
        if case.model == "gpt2":
            return library.GPT2Model(
                library.GPT2Config(
                    n_embd=model.hidden_size, n_layer=model.layers, n_head=model.attention_heads,
                    use_cache=False, **eager,
                )
            )  # fmt: skip
        if case.model == "opt":
            return library.OPTModel(
                library.OPTConfig(
                    hidden_size=model.hidden_size, num_hidden_layers=model.layers,
                    num_attention_heads=model.attention_heads, ffn_dim=model.intermediate_size,
                    word_embed_proj_dim=model.hidden_size, max_position_embeddings=_MOST_TOKENS,
                    use_cache=False, **eager,
                )
            )  # fmt: skip
        raise InputError(f"{case.model}: collect has no way to build it")

    def _kernel(self, case: Any) -> Callable[[], Any]:
        torch, device = self._torch, self._device
        kind = getattr(torch, _TYPES[case.dtype])
        if case.op == "gemm":
            a = torch.randn(case.m, case.k, device=device, dtype=kind)
            b = torch.randn(case.k, case.n, device=device, dtype=kind)
            out = torch.empty(case.m, case.n, device=device, dtype=kind)
            return lambda: torch.mm(a, b, out=out)
        shape = (case.batch, case.heads, case.seq_q, case.head_dim)
        q, k, v = (torch.randn(shape, device=device, dtype=kind) for _ in range(3))
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, v, is_causal=True)


class Program:
    """A call to repeat; forward passes wait for each, kernels queue up."""

    def __init__(self, torch: Any, device: Any, call: Callable[[], Any], *, each: bool) -> None:
        """Take what runs, and whether the host waits after every iteration."""
        self._torch, self._device, self._each = torch, device, each
        self._call: Callable[[], Any] | None = call

    def run(self, iterations: int) -> None:
        """Run so many times and wait until the GPU is done.

        Raises:
            NoRoomError: It does not fit into the memory of the board.
        """
        torch, call = self._torch, self._call
        if call is None:
            raise InputError("this work was closed")
        try:
            with torch.inference_mode():
                for _ in range(iterations):
                    call()
                    if self._each:
                        torch.cuda.synchronize(self._device)
            torch.cuda.synchronize(self._device)
        except torch.cuda.OutOfMemoryError as error:
            raise NoRoomError("it does not fit into memory") from error

    def close(self) -> None:
        """Free the memory."""
        self._call = None
        self._torch.cuda.empty_cache()
