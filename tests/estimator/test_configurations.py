"""Configurations of vision, speech and encoder-decoder models, against the catalogue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer import catalog
from energaizer.configurations import READERS
from energaizer.errors import EnergaizerError, InputError, NoEstimateError
from energaizer.huggingface import model_from_config

LABELS = {"id2label": {str(index): f"class {index}" for index in range(1000)}}
PUBLISHED = {
    "resnet50": {"model_type": "resnet", "hidden_sizes": [256, 512, 1024, 2048], **LABELS},
    "resnet18": {
        "model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512], **LABELS,
    },
    "vit-large": {
        "model_type": "vit", "hidden_size": 1024, "intermediate_size": 4096,
        "num_attention_heads": 16, "num_hidden_layers": 24, **LABELS,
    },
    "swin-tiny": {"model_type": "swin", **LABELS},
    "convnext-tiny": {"model_type": "convnext", **LABELS},
    "mobilevit-s": {"model_type": "mobilevit", **LABELS},
    "mobilenet-v2": {"model_type": "mobilenet_v2", **LABELS},
    "efficientnet-b0": {
        "model_type": "efficientnet", "image_size": 224, "width_coefficient": 1.0,
        "depth_coefficient": 1.0, **LABELS,
    },
    "efficientnet-b7": {"model_type": "efficientnet", **LABELS},
    "clip-vit-b-32": {"model_type": "clip"},
    "clip-vit-l-14": {
        "model_type": "clip", "projection_dim": 768,
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
            "num_attention_heads": 16, "patch_size": 14,
        },
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    },
    "t5-base": {
        "model_type": "t5", "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
    },
    "flan-t5-small": {
        "model_type": "t5", "d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
    },
    "whisper-tiny": {"model_type": "whisper"},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_configuration_describes_what_the_catalogue_holds(name):
    read, known = model_from_config(PUBLISHED[name]), catalog.model(name)
    told = {"name", "aliases", "source"}
    if known.family in {"mobilenet_v2", "efficientnet"}:
        assert (read.parameters, read.macs) == (known.parameters, known.macs)
    else:
        assert read.model_dump(exclude=told) == known.model_dump(exclude=told)


def test_a_distilled_transformer_has_one_token_more():
    assert model_from_config({"model_type": "deit"}).tokens(224) == 198


def test_a_model_without_classes_ends_in_hidden_states():
    bare = model_from_config({"model_type": "swin"})
    assert bare.parameters == catalog.model("swin-tiny").bare().parameters


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"model_type": "t5", "feed_forward_proj": "gated-silu"}, NoEstimateError, "gated-silu"),
        ({"model_type": "swin", "depths": [1, 2]}, InputError, "one entry for each stage"),
        ({"model_type": "vit", "num_attention_heads": 7}, InputError, "multiple"),
        ({"model_type": "resnet", "depths": "deep"}, InputError, "whole numbers"),
        ({"model_type": "mobilevit", "patch_size": 4}, NoEstimateError, "patch_size"),
        ({"model_type": "efficientnet", "width_coefficient": -1}, InputError, "width_coefficient"),
    ],
)
def test_what_no_family_describes_is_refused(config, error, words):
    with pytest.raises(error, match=words):
        model_from_config(config)


KEYS = sorted({key for config in PUBLISHED.values() for key in config} - {"model_type"})
JSON = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 5000), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-1, 600), max_size=5), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip


@given(st.sampled_from(sorted(READERS)), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
def test_no_configuration_breaks_a_reader(model_type, change):
    faults = []
    try:
        read = model_from_config({"model_type": model_type} | change)
        faults.append(read.parameters <= 0)
    except EnergaizerError as error:
        faults.append("\n" in str(error))
    assert not any(faults)
