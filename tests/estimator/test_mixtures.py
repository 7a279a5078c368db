"""Experts, latent attention, recurrent layers and vision towers: counts against worked numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from energaizer import attention, catalog, experts, latent, memory, pipeline
from energaizer.batch import Batch
from energaizer.blocks import Formats, Listing, Shard
from energaizer.errors import InputError, NoEstimateError
from energaizer.experts import Spread
from energaizer.huggingface import model_from_config
from energaizer.kernels import FAMILY
from energaizer.layers import Experts
from energaizer.lowering import lower
from energaizer.parallelism import Parallelism
from energaizer.power import COMPONENTS
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.workload import Workload

H100 = catalog.gpu("h100-sxm5-80gb")
PUBLISHED = Path(__file__).parents[3] / "shared/data/serving/llm_architectures.json"
BF16 = Formats(2.0, 2.0, 2.0, 2.0, "bf16", "bf16", "bf16")
FP8 = Formats(2.0, 1.000244, 2.0, 2.0, "fp8", "bf16", "bf16", quantised_input=1.0)
MXFP4 = BF16._replace(weight=0.53125, unpacked=True)


def workload(name, **inputs):
    given = {"input_tokens": 512, "output_tokens": 64, "batch": 8} | inputs
    return Workload(model=catalog.model(name), **given)


@pytest.mark.parametrize(
    ("count", "each", "tokens", "found"),
    [(128, 8, 1, 8), (128, 8, 16, 82.42), (128, 8, 64, 125.94), (32, 4, 8, 21.00),
     (16, 1, 16, 10.30), (256, 8, 32, 163.31)],
)  # fmt: skip
def test_touched_experts(count, each, tokens, found):
    assert experts.touched(count, each, tokens) == pytest.approx(found, abs=5e-3)


def test_the_fullest_rank_waits_for_nobody():
    # 64 tokens x 8 experts over 8 ranks: 64 visits a rank, 1 + sqrt(2 ln 8 / 64) = 1.2549
    mixture = Experts(count=128, per_token=8, intermediate_size=768, layers=48)
    assert experts.crowding(64.0, 8.0) == pytest.approx(1.25493, rel=1e-4)
    assert experts.load(mixture, 64.0, 8.0).rows == pytest.approx(64 * 1.25493, rel=1e-4)
    alone = experts.load(mixture, 64.0, 1.0)
    assert (alone.rows, alone.touched) == (512.0, pytest.approx(125.94, abs=5e-3))
    assert experts.load(mixture, 1.0, 128.0).rows <= 1.0


def test_expert_weights_of_a_step():
    # Method, section 6: a 235B MoE in bf16 at B=16 over 8 GPUs reads 36.56 GB of experts a GPU.
    shard = Shard(16.0, 1.0, 1024.0, 8.0, 1.0, 128.0, 4096.0, 1536.0, 18992.0, 8.0)
    listing, model = Listing(), catalog.model("qwen3-235b-a22b")
    experts.add(listing, model.experts, Spread(tensor=8.0), shard, gated=True, formats=BF16)
    read = sum(
        kernel.batch * kernel.k * kernel.n * kernel.b_bytes * count
        for kernel, count in listing.counts.items()
        if kernel.family == FAMILY["grouped-gemm"]
    )
    assert read == pytest.approx(36.56e9, rel=1e-3)


def grouped(count, per_token, tokens, spread, formats):
    mixture = Experts(count=count, per_token=per_token, intermediate_size=768, layers=1)
    work = experts.load(mixture, tokens, spread.ranks)
    return experts.groups_of(mixture, work, tokens, spread, formats), work


def test_groups_of_rows_are_those_of_the_engine():
    eight = Spread(ranks=8.0)
    # 128 experts, 16 on a rank: groups of 16 rows for as many tokens, else of 64
    for tokens, height in ((16.0, 16.0), (17.0, 64.0), (512.0, 64.0)):
        found, work = grouped(128, 8, tokens, eight, BF16)
        assert (found.height, found.groups, found.family) == (height, work.touched, "grouped-gemm")
        assert (found.passed, found.summed, found.filled) == (8 * tokens, 8 * tokens, work.rows)
    # 64 visits and 127 rows more for each of 16 experts: 2096 rows, 17 groups of 128
    found, work = grouped(128, 8, 8.0, eight, FP8)
    assert (found.groups, found.height, found.passed, found.family) == (17.0, 128.0, 2176.0, "gemm")
    assert found.drawing == pytest.approx(work.rows + 0.62 * (2176.0 - work.rows))
    # stored in 4 bits: 8, 32 and 512 rows an expert in groups of 16, of 32, and four of 128
    for tokens, height, each in ((64.0, 16.0, 1.0), (250.0, 32.0, 1.0), (4096.0, 128.0, 4.0)):
        found, work = grouped(32, 4, tokens, Spread(), MXFP4)
        assert (found.height, found.groups) == (height, pytest.approx(each * work.touched))
    found, work = grouped(128, 8, 4096.0, eight._replace(packed=True), BF16)
    assert (found.rows, found.drawing) == (pytest.approx(work.rows), pytest.approx(work.rows))


def test_a_library_of_groups_launches_more():
    def launches(formats, spread):
        shard = Shard(16.0, 1.0, 1024.0, 8.0, 1.0, 128.0, 4096.0, 1536.0, 18992.0, 8.0)
        listing, mixture = Listing(), catalog.model("qwen3-235b-a22b").experts
        experts.add(listing, mixture, spread, shard, gated=True, formats=formats)
        return sum(listing.counts.values()) / mixture.layers

    # router, softmax, copy, two products, nonlinearity, sum; two casts and five small kernels
    assert launches(BF16, Spread(ranks=8.0)) == 7
    assert launches(FP8, Spread(ranks=8.0)) == 7 + 2 + 5
    assert launches(FP8, Spread(ranks=8.0, packed=True)) == 7 + 2


def test_the_mean_rank_draws_less_than_the_fullest():
    # 16 tokens x 8 of 128 experts touch 82.42, so 10.30 a rank in the mean; the fullest more
    shard = Shard(16.0, 1.0, 1024.0, 8.0, 1.0, 128.0, 4096.0, 1536.0, 18992.0, 8.0)
    listing, model = Listing(), catalog.model("qwen3-235b-a22b")
    experts.add(listing, model.experts, Spread(ranks=8.0), shard, gated=True, formats=BF16)
    fullest = experts.load(model.experts, 16.0, 8.0).touched
    products = [kernel for kernel in listing.counts if kernel.family == FAMILY["grouped-gemm"]]
    assert [kernel.share for kernel in products] == pytest.approx([10.3028 / fullest] * 2, rel=1e-4)
    pair = [products[0], products[0]._replace(share=1.0)]
    found = Batch.of_kernels(H100, pair, np.full(2, H100.max_clock_hz), np.full(2, 700.0)).predict(
        catalog.coefficients(H100)
    )
    assert found.duration_s[0] == found.duration_s[1]
    moved = found.components_j[:, COMPONENTS.index("dram")]
    assert moved[0] / moved[1] == pytest.approx(products[0].share)


def test_latent_attention_counts():
    model = catalog.model("deepseek-v3")
    shard = Shard(1.0, 1.0, 4096.0, 128.0, 128.0, 192.0, 7168.0, 18432.0, 129280.0, 1.0)
    kernel = latent.absorbed(model.latent, shard, 4096.0, BF16)
    assert kernel.flops == 1_140_850_688
    prompt, listing = shard._replace(queries=4096.0), Listing()
    latent.attention(listing, model.latent, prompt, 1.0, BF16)
    (kernel,) = listing.counts
    done = 2.0 * 128 * (128 + 64 + 128) * (attention.causal_pairs(4096) + 4096 * 128 / 2)
    assert kernel.flops == pytest.approx(done)
    assert model.key_value_bytes_per_token() == 70_272
    assert memory.cache_bytes(model, 100, Precision.BF16, tensor=8) == 7_027_200


def test_cached_bytes():
    assert catalog.model("qwen3-235b-a22b").key_value_bytes_per_token() == 192_512
    assert catalog.model("gpt-oss-20b").key_value_bytes(4096) == 103_809_024
    state = catalog.model("nemotron-nano-9b-v2").recurrent
    assert state.inner * state.state_size * state.state_bytes_per_element == 5_242_880


def test_published_models_have_their_parameters():
    if not PUBLISHED.exists():
        pytest.skip("no published table beside this clone")
    for name, facts in json.loads(PUBLISHED.read_text())["models"].items():
        model = catalog.model(name)
        text = (model.parameters - model.vision_parameters) / 1e9
        assert text == pytest.approx(facts["params_total_b"], rel=2e-3), name
        active = (model.active_parameters) / 1e9
        assert active == pytest.approx(facts["params_active_b"], rel=1e-2), name
        own = facts["kv_bytes_per_token_layer_bf16"] * model.attention_count
        assert model.key_value_bytes_per_token() == own, name


QWEN3_MOE = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
    "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "vocab_size": 151936, "max_position_embeddings": 262144, "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "moe_layer_freq": 1,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "vocab_size": 129280, "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "vocab_size": 201088,
    "max_position_embeddings": 131072, "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip
NEMOTRON = {
    "model_type": "nemotron_h", "hidden_size": 4480, "intermediate_size": 15680,
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "mamba_num_heads": 128,
    "mamba_head_dim": 80, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
    "vocab_size": 131072, "max_position_embeddings": 131072,
}  # fmt: skip
SCOUT = {
    "model_type": "llama4",
    "text_config": {
        "model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
        "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16,
        "num_experts_per_tok": 1, "interleave_moe_layer_step": 1, "attention_chunk_size": 8192,
        "vocab_size": 202048, "max_position_embeddings": 10485760,
    },
    "vision_config": {"image_size": 336, "patch_size": 14, "hidden_size": 1408,
                      "intermediate_size": 5632, "num_hidden_layers": 34,
                      "num_attention_heads": 16, "pixel_shuffle_ratio": 0.5},
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "name"),
    [(QWEN3_MOE, "qwen3-30b-a3b"), (DEEPSEEK, "deepseek-v3"), (GPT_OSS, "gpt-oss-20b"),
     (NEMOTRON, "nemotron-nano-9b-v2"), (SCOUT, "llama-4-scout")],
)  # fmt: skip
def test_configurations_equal_built_in_profiles(config, name):
    read, known = model_from_config(config), catalog.model(name)
    beside = {"name", "aliases", "source", "notes", "checkpoint_precision"}
    assert read.model_dump(exclude=beside) == known.model_dump(exclude=beside)


def test_configurations_of_hybrids():
    jamba = model_from_config({
        "model_type": "jamba", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_experts": 16, "num_experts_per_tok": 2, "attn_layer_period": 8,
        "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1,
        "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256,
        "vocab_size": 65536, "max_position_embeddings": 262144,
    })  # fmt: skip
    assert (jamba.attention_count, jamba.recurrent.layers, jamba.experts.layers) == (4, 28, 16)
    assert jamba.parameters == pytest.approx(51.6e9, rel=0.01)  # as published: 52B, 12B active
    assert jamba.active_parameters == pytest.approx(12e9, rel=0.03)
    following = catalog.model("qwen3-next-80b")
    assert following.parameters == pytest.approx(80e9, rel=0.02)  # 80B, 3B active
    assert following.active_parameters == pytest.approx(3.9e9, rel=0.05)
    mamba = catalog.model("mamba-2.8b")
    assert mamba.parameters == pytest.approx(2.77e9, rel=0.02)


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [("mixtral-8x7b", 46.7, 12.9), ("mixtral-8x22b", 141, 39), ("deepseek-v2", 236, 21),
     ("deepseek-v2-lite", 15.7, 2.4), ("kimi-k2", 1026, 32), ("glm-4.5", 355, 32),
     ("glm-4.5-air", 106, 12), ("minimax-m2", 230, 10), ("olmoe-1b-7b", 6.9, 1.3),
     ("phi-3.5-moe", 42, 6.6), ("dbrx", 132, 36), ("qwen2-57b-a14b", 57, 14),
     ("falcon-h1-7b", 7.6, 7.6), ("command-r-plus", 104, 104)],
)  # fmt: skip
def test_published_sizes(name, total, active):
    model = catalog.model(name)
    assert model.parameters / 1e9 == pytest.approx(total, rel=0.03)
    assert model.active_parameters / 1e9 == pytest.approx(active, rel=0.15)


def test_a_step_reads_only_what_its_tokens_touch():
    def decode_bytes(batch):
        program = lower(workload("qwen3-30b-a3b", batch=batch, input_tokens=16))
        step = program.counts[program.phases.index("decode")]
        grouped = program.column("family") == FAMILY["grouped-gemm"]
        weights = program.column("batch") * program.column("n") * program.column("k") * 2.0
        return float(step[grouped] @ weights[grouped])

    each = 48 * 3 * 768 * 2048 * 2.0
    assert decode_bytes(1) == pytest.approx(8 * each)
    assert decode_bytes(16) == pytest.approx(82.4225 * each, rel=1e-5)


@pytest.mark.parametrize(
    "name",
    ["mixtral-8x7b", "gpt-oss-20b", "nemotron-nano-9b-v2", "deepseek-v2-lite", "falcon-h1-7b",
     "jamba-mini-1.5", "mamba-2.8b", "qwen3-next-80b", "llama-4-scout", "qwen3-vl-8b"],
)  # fmt: skip
def test_more_sequences_cost_more_energy_and_no_more_a_token(name):
    split = Parallelism(tensor=4) if name not in {"mamba-2.8b", "qwen3-next-80b"} else Parallelism()
    split = Parallelism(tensor=4) if name == "jamba-mini-1.5" else split
    board = catalog.gpu("b200") if name == "qwen3-next-80b" else H100
    found = [
        pipeline.estimate(workload(name, batch=batch, parallelism=split), board)
        for batch in (4, 16, 64)
    ]
    energies = [one.energy.value for one in found]
    tokens = [one.energy_per_output_token.value for one in found]
    assert energies == sorted(energies)
    assert tokens == sorted(tokens, reverse=True)


def test_state_space_decode_does_not_grow_with_context():
    long, short = (
        pipeline.estimate(workload("mamba-2.8b", input_tokens=tokens), H100)
        for tokens in (65536, 1024)
    )
    steps = [next(phase for phase in one.phases if phase.name == "decode") for one in (long, short)]
    assert steps[0].duration.value == pytest.approx(steps[1].duration.value)


def test_images_are_prompt_tokens_and_a_tower():
    bare = workload("qwen3-vl-8b")
    seen = workload("qwen3-vl-8b", images=2, image_size=512)
    assert seen.prompt_tokens == 512 + 2 * (512 // 32) ** 2
    # Video: two frames to a patch, so 8 frames of 256 px are 4 x 64 tokens.
    assert workload("qwen3-vl-8b", frames=8, image_size=256).prompt_tokens == 512 + 256
    texts = pipeline.estimate(bare.model_copy(update={"input_tokens": 1024}), H100)
    assert pipeline.estimate(seen, H100).duration.value > texts.duration.value
    scout = catalog.model("llama-4-scout").vision
    assert (scout.tokens(336), scout.tokens(672)) == (144, 5 * 144)
    with pytest.raises(ValueError, match="no vision tower"):
        workload("qwen3-8b", images=1)


def test_experts_on_replicas_exchange_tokens():
    split = Parallelism(tensor=1, data=8, expert=8)
    spread = lower(workload("qwen3-30b-a3b", parallelism=split))
    whole = lower(workload("qwen3-30b-a3b", parallelism=Parallelism(data=8)))
    links = FAMILY["collective"]
    assert (spread.column("family") == links).sum() > (whole.column("family") == links).sum()
    need = [
        memory.need(workload("qwen3-30b-a3b", parallelism=one), H100).weights_bytes
        for one in (split, Parallelism(data=8))
    ]
    routed = catalog.model("qwen3-30b-a3b").routed_parameters
    assert need[1] - need[0] == pytest.approx(2.0 * routed * 7 / 8)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("qwen3-30b-a3b", Parallelism(tensor=2, expert=3), "128 experts .* choose 4|choose 2"),
        ("qwen3-30b-a3b", Parallelism(tensor=2, expert=8), "does not fit tensor=2 x data=1"),
        ("qwen3-30b-a3b", Parallelism(tensor=5), "32 heads .* choose 4"),
        ("qwen3-8b", Parallelism(expert=2), "no experts"),
        ("nemotron-nano-9b-v2", Parallelism(tensor=5), "128 state heads .* choose 4"),
        ("qwen3-8b", Parallelism(pipeline=37), "the most is 36"),
    ],
)
def test_splits_that_do_not_divide(name, split, message):
    with pytest.raises(InputError, match=message):
        lower(workload(name, parallelism=split))


def test_impossible_mixtures():
    with pytest.raises(ValueError, match="the most is 8"):
        Experts(count=8, per_token=9, intermediate_size=64, layers=2)
    with pytest.raises(InputError, match="experts per token"):
        model_from_config(QWEN3_MOE | {"num_experts_per_tok": 129})
    with pytest.raises(NoEstimateError, match="use fused"):
        lower(workload("mixtral-8x7b", attention="eager"))


def test_training_counts_what_a_token_meets():
    model = catalog.model("qwen3-30b-a3b")
    program = lower(Workload(
        model=model, input_tokens=2048, training=Training(global_batch=1),
        parallelism=Parallelism(tensor=1),
    ))  # fmt: skip
    grouped = program.column("family") == FAMILY["grouped-gemm"]
    flops = float(program.runs @ (program.counts[:, grouped] @ program.column("flops")[grouped]))
    # 6 N FLOP a token, N the parameters of the experts that it visits
    visited = model.routed_parameters * 8 / 128
    assert flops == pytest.approx(6 * visited * 2048)
