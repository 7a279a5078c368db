"""ONNX graphs, built here node by node, against our own families and against counts by hand."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from energaizer import arguments, catalog, families, lowering, pipeline
from energaizer.cli import main
from energaizer.errors import InputError, NoEstimateError
from energaizer.families.operators import Attention, Convolution, Linear, Tape
from energaizer.result import Provenance
from energaizer.workload import Workload

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from energaizer.onnx.network import Graph  # noqa: E402
from energaizer.onnx.reading import load  # noqa: E402

Dims = Sequence[int | str]


def weight(name: str, *shape: int) -> Any:
    return numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)


def indices(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def value(name: str, dims: Dims | None) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def saved(
    path: Path, nodes: list[Any], inputs: dict[str, Dims], weights: list[Any], output: str = "y"
) -> Path:
    graph = helper.make_graph(
        nodes, "test", [value(*each) for each in inputs.items()], [value(output, None)], weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


def block(path: Path, batch: int | str, width: int = 768, heads: int = 12) -> Path:
    """Return a pre-norm transformer layer, attention written out."""
    weights = [weight("g", width), weight("b", width), weight("up", width, 4 * width),
               weight("down", 4 * width, width), indices("split", 0, 0, heads, width // heads),
               indices("joined", 0, 0, width), weight("scale")]  # fmt: skip
    weights += [weight(f"w{part}", width, width) for part in "qkvo"]
    nodes = [node("LayerNormalization", "x g b", "n")]
    for part in "qkv":
        order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", f"n w{part}", f"{part}0"),
            node("Reshape", f"{part}0 split", f"{part}1"),
            node("Transpose", f"{part}1", part, perm=order),
        ]
    nodes += [
        node("MatMul", "q k", "s"), node("Div", "s scale", "t"), node("Softmax", "t", "p", axis=-1),
        node("MatMul", "p v", "o"), node("Transpose", "o", "o1", perm=[0, 2, 1, 3]),
        node("Reshape", "o1 joined", "o2"), node("MatMul", "o2 wo", "o3"),
        node("Add", "x o3", "r"), node("LayerNormalization", "r g b", "m"),
        node("MatMul", "m up", "h"), node("Gelu", "h", "a"), node("MatMul", "a down", "d"),
        node("Add", "r d", "y"),
    ]  # fmt: skip
    return saved(path, nodes, {"x": [batch, 197, width]}, weights)


def bottleneck(path: Path, batch: int | str = "N") -> Path:
    """Return a bottleneck of ResNet-50 at 56 x 56: 256 channels, 64 inside."""
    weights = [weight("w1", 64, 256, 1, 1), weight("w2", 64, 64, 3, 3), weight("w3", 256, 64, 1, 1)]
    nodes = [
        node("Conv", "x w1", "a"), node("Relu", "a", "b"),
        node("Conv", "b w2", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "d"),
        node("Conv", "d w3", "e"), node("Add", "x e", "f"), node("Relu", "f", "y"),
    ]  # fmt: skip
    return saved(path, nodes, {"x": [batch, 256, 56, 56]}, weights)


def test_a_transformer_block_is_that_of_our_own_family(tmp_path: Path) -> None:
    """ViT-base has twelve such layers: its products without patches and classifier."""
    found = load(block(tmp_path / "block.onnx", "batch"), {})
    own = catalog.model("vit-base")
    assert isinstance(own, families.Network)
    tape = families.passes(own, own.native)
    layers = sum(
        count * operator.macs
        for operator, count in tape.counts.items()
        if isinstance(operator, Attention) or (isinstance(operator, Linear) and operator.rows > 1)
    )
    assert 12 * found.macs == pytest.approx(layers, rel=1e-9)
    assert found.parameters == 12 * 768**2 + 2 * 768 + 1
    seen = [operator for operator, _ in found.operators if isinstance(operator, Attention)]
    assert seen == [Attention(1.0, 197.0, 197.0, 12, 64, scaled="scores")]


def test_a_bottleneck_is_that_of_resnet(tmp_path: Path) -> None:
    found = load(bottleneck(tmp_path / "r.onnx"), {})
    own = catalog.model("resnet50")
    assert isinstance(own, families.Network)
    expected = {
        (c.inputs, c.outputs, c.size, c.window): c.macs
        for c in families.passes(own, own.native).counts
        if isinstance(c, Convolution)
    }
    mine = [operator for operator, _ in found.operators if isinstance(operator, Convolution)]
    assert len(mine) == 3
    for one in mine:
        assert one.macs == expected[one.inputs, one.outputs, one.size, one.window]


@pytest.mark.parametrize(
    ("attributes", "out"),
    [
        ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, 112),
        ({"strides": [2, 2]}, 111),
        ({"dilations": [2, 2]}, 220),
    ],
)
def test_products_of_a_convolution_follow_its_output(
    tmp_path: Path, attributes: dict[str, Any], out: int
) -> None:
    nodes = [node("Conv", "x w b", "y", **attributes)]
    weights = [weight("w", 32, 8, 3, 3), weight("b", 32)]
    found = load(saved(tmp_path / "c.onnx", nodes, {"x": [1, 8, 224, 224]}, weights), {})
    assert found.macs == 32 * out * out * 8 * 9


def test_a_free_batch_multiplies_and_a_fixed_one_does_not(tmp_path: Path) -> None:
    free = load(bottleneck(tmp_path / "free.onnx"), {}, batch=4)
    work = [lowering.lower(Workload(model=free, input_tokens=1, batch=batch)) for batch in (1, 4)]
    flops = [float(one.counts[0] @ one.column("flops")) for one in work]
    assert flops[1] == 4 * flops[0]
    fixed = load(bottleneck(tmp_path / "fixed.onnx", 4), {})
    assert fixed.macs == 4 * free.macs
    assert "fixed" in fixed.notes[0]
    with pytest.raises(InputError, match="leave --batch out"):
        load(tmp_path / "fixed.onnx", {}, batch=2)


def test_sizes_come_from_the_user(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b", "h", transB=1), node("Relu", "h", "y")]
    weights = [weight("w", 10, 64), weight("b", 10)]
    file = saved(tmp_path / "g.onnx", nodes, {"x": ["rows", 64]}, weights)
    assert load(file, {}).macs == 640
    assert load(file, {"rows": (5,)}).macs == 5 * 640
    assert load(file, {"x": (7, 64)}).macs == 7 * 640
    with pytest.raises(InputError, match="no input or symbol z; its inputs are x"):
        load(file, {"z": (1,)})
    with pytest.raises(InputError, match="2 dimensions, not 1"):
        load(file, {"x": (1,)})
    loose = saved(tmp_path / "l.onnx", [node("Relu", "x", "y")], {"x": ["n", "length"]}, [])
    with pytest.raises(InputError, match="no size for length of x"):
        load(loose, {})
    assert arguments.shapes(["x=1x3,224", "seq=128"]) == {"x": (1, 3, 224), "seq": (128,)}
    with pytest.raises(InputError, match="is not NAME="):
        arguments.shapes(["x=a"])


def test_little_without_a_method_is_noted_much_is_refused(tmp_path: Path) -> None:
    few = [node("Conv", "x w", "y"), node("Det", "small", "z")]
    inputs: dict[str, Dims] = {"x": [1, 8, 64, 64], "small": [1, 2, 2]}
    found = load(saved(tmp_path / "f.onnx", few, inputs, [weight("w", 8, 8, 1, 1)]), {})
    assert "Det (1): no method" in found.notes[0]
    # what has no formula may take as long as it is large: the interval says so
    assert 0.0 < found.unmodelled < 0.1
    gpu = catalog.gpu("h100-sxm5-80gb")
    said, whole = (
        pipeline.estimate(Workload(model=model, batch=1), gpu)
        for model in (found, found.model_copy(update={"unmodelled": 0.0}))
    )
    for name in ("duration", "power", "energy"):
        wide, narrow = getattr(said, name), getattr(whole, name)
        assert wide.value == pytest.approx(narrow.value)
        assert narrow.low / wide.low == pytest.approx(1.0 / (1.0 - found.unmodelled))
    assert said.duration.provenance != Provenance.CALIBRATED
    many = saved(tmp_path / "m.onnx", [node("Det", "x", "y")], {"x": [1, 64, 64]}, [])
    with pytest.raises(NoEstimateError, match=r"Det \(1\): no method"):
        load(many, {})


def test_recurrence_is_refused_however_small(tmp_path: Path) -> None:
    weights = [weight("w", 1, 32, 4), weight("r", 1, 32, 8), weight("k", 512, 512)]
    nodes = [node("LSTM", "x w r", "h", hidden_size=8), node("MatMul", "big k", "y")]
    inputs: dict[str, Dims] = {"x": [3, 1, 4], "big": [1, 512, 512]}
    file = saved(tmp_path / "lstm.onnx", nodes, inputs, weights)
    with pytest.raises(NoEstimateError, match="steps follow one another"):
        load(file, {})


def test_constants_are_folded_and_attention_of_opset_23_is_read(tmp_path: Path) -> None:
    nodes = [
        node("Add", "c c", "twice"), node("Mul", "x twice", "q"),
        node("Attention", "q k v", "y", is_causal=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "t", [value(name, ["b", 8, 128, 64]) for name in ("x", "k", "v")],
        [value("y", ["b", 8, 128, 64])], [weight("c", 64)],
    )  # fmt: skip
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]), path)
    kinds = [type(operator).__name__ for operator, _ in load(path, {}).operators]
    assert kinds == ["Pointwise", "Attention"]


def test_products_of_activations_outside_attention(tmp_path: Path) -> None:
    nodes = [node("MatMul", "a b", "c"), node("Softmax", "c", "y", axis=-1)]
    file = saved(tmp_path / "p.onnx", nodes, {"a": [6, 10, 20], "b": [6, 20, 30]}, [])
    found = load(file, {})
    assert found.macs == 6 * 10 * 20 * 30
    assert [type(operator).__name__ for operator, _ in found.operators] == ["Product", "Softmax"]
    work = lowering.lower(Workload(model=found, input_tokens=1))
    assert float(work.counts[0] @ work.column("flops")) == 2 * found.macs
    assert float(work.counts[0] @ work.column("special")) == 6 * 10 * 30


def test_what_is_no_graph_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        load(tmp_path / "none.onnx", {})
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match="no ONNX graph"):
        load(tmp_path / "text.onnx", {})


def test_a_graph_takes_about_as_long_as_our_own_model(tmp_path: Path) -> None:
    """One layer against a twelfth of ViT-base, a batch that keeps the GPU busy."""
    gpu, own = catalog.gpu("a100-40gb"), catalog.model("vit-base")
    found = load(block(tmp_path / "block.onnx", "batch"), {})
    layer, whole = (
        pipeline.estimate(Workload(model=each, input_tokens=1, batch=64), gpu)
        for each in (found, own)
    )
    assert 12 * layer.duration.value == pytest.approx(whole.duration.value, rel=0.25)
    tape = Tape()
    found.forward(tape, found.native)
    assert isinstance(found, Graph)
    assert tape.calls == found.nodes


def test_the_command_line_reads_a_graph(tmp_path: Path) -> None:
    file = bottleneck(tmp_path / "r.onnx")
    words = ["estimate", "--onnx", str(file), "--gpu", "l4", "--batch", "4", "-o", "json"]
    run = CliRunner().invoke(main, words)
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)["energy_per_sample"]["unit"] == "J/sample"
    both = CliRunner().invoke(main, [*words, "--model", "resnet50"])
    assert both.exit_code == 2
    refused = CliRunner().invoke(
        main, ["estimate", "--gpu", "l4", "--onnx",
               str(saved(tmp_path / "m.onnx", [node("Det", "x", "y")], {"x": [1, 9, 9]}, []))],
    )  # fmt: skip
    assert refused.exit_code == 3


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = None; from energaizer.cli import main; "
        f"main(['estimate', '--gpu', 'l4', '--onnx', {str(tmp_path / 'x.onnx')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install energaizer[onnx]" in done.stderr
