"""Vision, speech and encoder-decoder models: parameters and products as published."""

import pytest

from energaizer import catalog, families, measured
from energaizer.errors import UnknownNameError
from energaizer.families import EncoderDecoder, Inputs, Network
from energaizer.families.operators import Convolution, Tape
from energaizer.model import Model

# Parameters in millions, products of one forward pass in units of 1e9; None: not published.
TORCHVISION = {  # cards of torchvision's pretrained weights
    "resnet18": (11.689512, 1.81),
    "resnet34": (21.797672, 3.66),
    "resnet50": (25.557032, 4.09),
    "resnet101": (44.54916, 7.8),
    "resnet152": (60.192808, 11.51),
    "vit-base": (86.567656, 17.56),
    "vit-b-32": (88.224232, 4.41),
    "vit-large": (304.326632, 61.55),
    "vit-l-32": (306.5354, 15.38),
    "vit-huge": (632.0458, 167.29),
    "swin-tiny": (28.288354, 4.49),
    "swin-small": (49.606258, 8.74),
    "swin-base": (87.768224, 15.43),
    "mobilenet-v2": (3.504872, 0.3),
    "mobilenet-v3-small": (2.542856, 0.057),
    "mobilenet-v3-large": (5.483032, 0.217),
    "convnext-tiny": (28.589128, 4.46),
    "convnext-small": (50.223688, 8.68),
    "convnext-base": (88.591464, 15.36),
    "convnext-large": (197.767336, 34.36),
    "efficientnet-b0": (5.288548, 0.39),
    "efficientnet-b1": (7.794184, 0.69),
    "efficientnet-b3": (12.233232, 1.83),
    "efficientnet-b4": (19.341616, 4.39),
    "efficientnet-b5": (30.389784, 10.27),
    "efficientnet-b6": (43.040704, 19.07),
    "efficientnet-b7": (66.34796, 37.75),
}
PAPERS = {
    "deit-tiny": (5.717416, 1.26),  # DeiT, arXiv 2012.12877, and its model cards
    "deit-small": (22.050664, 4.6),
    "deit-base": (86.567656, 17.58),
    "deit-base-384": (86.859496, 55.5),
    "vit-tiny": (5.717416, 1.26),  # the same shapes
    "vit-small": (22.050664, 4.6),
    "vit-large-384": (304.715752, 191.1),  # DeiT III, arXiv 2204.07118, table 7
    "convnext-xlarge": (350.196968, 60.98),  # ConvNeXt, arXiv 2201.03545, table 1
    "convnext-base-384": (88.591464, 45.2),
    "resnet26": (15.995176, 2.36),  # model card of timm
    "mobilenet-v2-1.4": (6.11, 0.582),  # MobileNetV2, arXiv 1801.04381, table 4
    "swin-base-384": (87.9, 47.0),  # Swin, arXiv 2103.14030, table 1
    "swin-large": (196.5, 34.5),
    "swin-large-384": (196.7, 103.9),
    "efficientnet-b2": (9.109994, 1.0),  # EfficientNet, arXiv 1905.11946, table 2
    "mobilevit-s": (5.578632, 2.03),  # model cards of timm
    "mobilevit-xs": (2.317848, 1.05),
    "mobilevit-xxs": (1.272024, 0.42),
    "clip-vit-b-32": (151.277313, 7.39),  # model profile of open_clip: 14.78 GFLOP
    "clip-vit-b-16": (149.620737, 20.545),
    "clip-vit-l-14": (427.616513, 87.665),
    "clip-vit-l-14-336": (427.944193, 197.61),
    "t5-small": (60.506624, None),  # checkpoints on Hugging Face
    "t5-base": (222.903552, None),
    "t5-large": (737.668096, None),
    "t5-3b": (2851.598336, None),
    "t5-11b": (11307.321344, None),
    "flan-t5-small": (76.961152, None),
    "flan-t5-base": (247.577856, None),
    "flan-t5-large": (783.150080, None),
    "flan-t5-xl": (2849.757184, None),
    "flan-t5-xxl": (11135.332352, None),
    "whisper-tiny": (37.76064, None),
    "whisper-base": (72.59392, None),
    "whisper-small": (241.734912, None),
    "whisper-medium": (763.85792, None),
    "whisper-large-v2": (1543.30496, None),
    "whisper-large-v3": (1543.49056, None),
    "whisper-turbo": (808.87808, None),
}
PUBLISHED = TORCHVISION | PAPERS


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_products_as_published(name):
    model = catalog.model(name)
    parameters, products = PUBLISHED[name]
    assert isinstance(model, Network)
    assert model.parameters / 1e6 == pytest.approx(parameters, rel=1e-3)
    if products is not None:
        assert model.macs / 1e9 == pytest.approx(products, rel=0.025, abs=0.014)


def test_every_family_is_in_the_catalogue():
    found = {model.family for model in catalog.models() if isinstance(model, Network)}
    assert found == set(families.FAMILIES)


@pytest.mark.parametrize(
    ("name", "size", "found"),
    [
        ("vit", "large", "google/vit-large-patch16-224"),
        ("vitmodel", "large", "google/vit-large-patch16-224"),
        ("resnet101", "", "microsoft/resnet-101"),
        ("resnet101", "101", "microsoft/resnet-101"),
        ("resnet", "50", "microsoft/resnet-50"),
        ("bert", "large", "google-bert/bert-large-uncased"),
        ("gpt2", "gpt2", "openai-community/gpt2"),
        ("opt", "opt-1p3b", "facebook/opt-1.3b"),
        ("qwen2", "qwen2-7b", "Qwen/Qwen2-7B"),
        ("mobilevit", "small", "apple/mobilevit-small"),
        ("efficientnet", "b0", "google/efficientnet-b0"),
        ("swin", "tiny", "microsoft/swin-tiny-patch4-window7-224"),
        ("clip", "vit-b/32", "openai/clip-vit-base-patch32"),
        ("mobilenet_v3", "large", "timm/mobilenetv3_large_100"),
        ("t5", "base", "google-t5/t5-base"),
    ],
)
def test_names_of_measured_tables(name, size, found):
    assert measured.model(name, size).name == found


def test_an_unknown_table_name_says_where_to_look():
    with pytest.raises(UnknownNameError, match="energaizer models"):
        measured.model("resnet", "51")


@pytest.mark.parametrize(
    ("convolution", "macs", "out"),
    [
        (Convolution(64, 64, (56, 56), (3, 3)), 924_844_032 / 8, (56, 56)),
        (Convolution(128, 128, (64, 64), (3, 3), groups=128), 37_748_736 / 8, (64, 64)),
        (Convolution(3, 64, (224, 224), (7, 7), 2), 118_013_952, (112, 112)),
        (Convolution(3, 768, (224, 224), (16, 16), 16, padded=False), 115_605_504, (14, 14)),
        (Convolution(80, 384, (3000, 1), (3, 1)), 276_480_000, (3000, 1)),
        (Convolution(256, 256, (14, 14), (3, 3), groups=32), 3_612_672, (14, 14)),
    ],
)
def test_convolutions_by_hand(convolution, macs, out):
    assert convolution.macs == macs
    assert convolution.out == out


def test_a_bare_model_has_no_head_of_a_task():
    assert catalog.model("bert-large").bare().head_parameters == 0
    whole = catalog.model("swin-tiny")
    assert whole.parameters - whole.bare().parameters == 768 * 1000 + 1000
    # ViT gives its classifier of 1000 classes for a pooler of its own width.
    vit = catalog.model("vit-large")
    assert vit.bare().parameters - vit.parameters == (1024 - 1000) * (1024 + 1)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "11b" not in name])
def test_larger_inputs_never_cost_less(name):
    model = catalog.model(name)
    small = families.passes(model, model.native)
    if model.takes_images:
        large = families.passes(model, Inputs(2 * model.image_size, model.native.tokens))
        assert small.macs < large.macs
        assert small.largest <= large.largest
    assert small.macs > 0
    assert small.calls > 0


@pytest.mark.parametrize("name", ["t5-small", "flan-t5-base", "whisper-tiny"])
def test_decoder_steps_grow_with_context_alone(name):
    model = catalog.model(name)
    assert isinstance(model, EncoderDecoder)
    inputs = Inputs(model.image_size, 64)
    short, long = Tape(), Tape()
    model.decode(short, 1.0, 10.0, inputs)
    model.decode(long, 1.0, 20.0, inputs)
    width = model.width if hasattr(model, "width") else model.hidden_size
    assert long.macs - short.macs == 2 * 10 * width * model.decoder_layers
    assert long.parameters == short.parameters


def test_dense_models_stay_what_they_were():
    assert isinstance(catalog.model("llama-3.1-8b"), Model)
