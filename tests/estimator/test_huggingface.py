"""Configurations of transformers become models, or an error that says what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer import catalog
from energaizer.errors import EnergaizerError, InputError, NoEstimateError
from energaizer.huggingface import model_from_config
from energaizer.precision import Precision

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
}
SHAPES = {"name", "aliases", "source"}


def test_llama_equals_the_built_in_profile():
    read = model_from_config(LLAMA, "x")
    assert read.model_dump(exclude=SHAPES) == catalog.model("llama-3.1-8b").model_dump(
        exclude=SHAPES
    )


@pytest.mark.parametrize(
    ("stated", "precision"),
    [
        ({"torch_dtype": "float16"}, Precision.FP16),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, Precision.BF16),
        ({"torch_dtype": "float32"}, None),
        ({"torch_dtype": None}, None),
    ],
)
def test_the_format_of_a_checkpoint_is_what_its_configuration_states(stated, precision):
    assert model_from_config(LLAMA | stated).checkpoint_precision is precision


def test_gemma_3_reads_its_text_stack_and_its_tower():
    # As published for gemma-3-4b-it: what is left out are the defaults of the class.
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    seen = {"image_size": 896, "patch_size": 14, "hidden_size": 1152, "num_hidden_layers": 27}
    config = {"model_type": "gemma3", "text_config": text, "vision_config": seen}
    model = model_from_config(config)
    assert (model.attention_heads, model.key_value_heads, model.head_size) == (8, 4, 256)
    assert (model.sliding_layers, model.sliding_window) == (29, 1024)
    assert model.vocabulary_size == 262_208
    assert model.vision.tokens(896) == 256
    without = model_from_config(config | {"vision_config": {}})
    assert "no vision tower" in without.notes[0]


def test_gpt2_takes_the_defaults_of_its_class():
    assert model_from_config({"model_type": "gpt2"}).parameters == 124_439_808


def test_opt_350m_has_a_projection():
    model = catalog.model("opt-350m")
    assert (model.embedding_size, model.hidden_size) == (512, 1024)
    assert model.embedding_parameters == 50272 * 512 + 2048 * 1024 + 2 * 512 * 1024


def test_layer_types_decide_what_slides():
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = LLAMA | {"model_type": "gemma3_text", "num_hidden_layers": 6, "sliding_window": 512}
    assert model_from_config(config | {"layer_types": kinds}).sliding_layers == 5
    with pytest.raises(NoEstimateError, match="layer_types"):
        model_from_config(config | {"layer_types": ["linear_attention"] * 6})


def test_a_window_that_cuts_nothing_is_none():
    wide = LLAMA | {"model_type": "mistral", "sliding_window": 131072}
    assert model_from_config(wide).sliding_layers == 0
    assert model_from_config(wide | {"sliding_window": 4096}).sliding_layers == 32


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("rwkv6", "recurrent layers of another kind"),
        ("switch_transformers", "mixture of experts of another kind"),
        ("siglip", "vision"),
        ("bart", "encoder and decoder"),
        ("something-new", "known are llama, qwen2"),
    ],
)
def test_families_without_a_method_are_refused(family, what):
    with pytest.raises(NoEstimateError, match=what):
        model_from_config(LLAMA | {"model_type": family})


def test_experts_in_a_dense_family_are_refused():
    with pytest.raises(NoEstimateError, match="experts"):
        model_from_config(LLAMA | {"num_local_experts": 8})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "no hidden_size; add it"),
        ({"hidden_size": "4096"}, "give a whole number"),
        ({"hidden_size": -1}, "give a whole number"),
        ({"hidden_size": 1e30}, "give a whole number"),
        ({"num_hidden_layers": 10**9}, "layers"),
        ({"num_hidden_layers": True}, "give a whole number"),
        ({"num_key_value_heads": 5}, "multiple"),
        ({"tie_word_embeddings": "yes"}, "true or false"),
        ({"model_type": None}, "no model_type"),
        ({"quantization_config": 4}, "quantization_config"),
    ],
)
def test_bad_fields_are_named(change, message):
    with pytest.raises(InputError, match=message):
        model_from_config(LLAMA | change)


FP8_GROUP = {"config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}}
FP4_GROUP = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float"}}}}


@pytest.mark.parametrize(
    ("quantised", "expected"),
    [
        ({"quant_method": "fp8"}, Precision.FP8),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, Precision.INT4),
        ({"quant_method": "awq", "bits": 4}, Precision.INT4),
        ({"quant_method": "gptq", "bits": 8}, Precision.INT8),
        ({"quant_method": "compressed-tensors"} | FP8_GROUP, Precision.FP8),
        ({"quant_method": "compressed-tensors"} | FP4_GROUP, Precision.NVFP4),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, Precision.NVFP4),
        ({"quant_method": "mxfp4"}, Precision.MXFP4),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Precision.INT8),
        ({"quant_method": "gptq", "bits": 3}, None),
        ({"quant_method": "aqlm"}, None),
    ],
)
def test_quantised_checkpoints_hint_their_weights(quantised, expected):
    model = model_from_config(LLAMA | {"quantization_config": quantised})
    assert model.weight_precision == expected
    assert len(model.notes) == 1
    assert ("state their precision" in model.notes[0]) == (expected is None)


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just([1, None]),
    st.just({}),
    st.just({"hidden_size": 3, "bits": "4"}),
)
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "phi3", "gpt2", "opt", "bert")
FURTHER = (
    "sliding_window",
    "layer_types",
    "use_sliding_window",
    "text_config",
    "head_dim",
    "n_embd",
)
FURTHER += ("quantization_config", "n_inner", "word_embed_proj_dim", "num_experts")


@given(
    st.sampled_from(FAMILIES),
    st.dictionaries(st.sampled_from([*LLAMA, *FURTHER]), JSON, max_size=4),
)
def test_no_configuration_breaks_the_reader(family, change):
    faults = []
    try:
        faults.append(model_from_config(LLAMA | change | {"model_type": family}).parameters <= 0)
    except EnergaizerError as error:
        faults.append("\n" in str(error))
    assert not any(faults)
