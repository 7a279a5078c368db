import pandas as pd
import pytest

from energaizer import catalog
from energaizer.errors import UnknownNameError
from energaizer.validation import names
from measured_tables import scored

SIZES = {
    "bert": "tiny mini small medium base large",
    "roberta": "base large",
    "gpt2": "gpt2 medium large xl 124m 355m 774m 1p5b",
    "opt": "opt-125m opt-350m opt-1p3b opt-2p7b opt-6p7b opt-13b opt-30b opt-66b opt-175b",
    "llama": "llama-7b llama-13b llama-30b llama-65b llama-2-7b llama-2-13b llama-2-70b llama-3-8b "
    "llama-3-70b llama-3p1-8b llama-3p1-70b llama-3p1-405b llama-3p2-1b llama-3p2-3b llama-3p3-70b",
    "llama2": "7b llama2-13b",
    "llama3p2": "1b llama3p2-3b",
    "mistral": "7b mistral-nemo-12b mistral-small-22b mistral-small-24b mistral-large-123b",
    "qwen2": "qwen2-0p5b qwen2-1p5b qwen2-7b qwen2-72b",
    "qwen2p5": "0p5b 1p5b 3b 7b 14b 32b qwen2p5-72b",
    "gemma": "2b gemma-7b gemma-2-2b gemma-2-9b gemma-2-27b gemma-3-1b gemma-3-27b "
    "gemma-1p1-2b gemma-1p1-7b",
    "t5": "small base large 3b 11b t5-v1p1-xl flan-t5-xxl",
    "whisper": "tiny base small medium large large-v1 large-v2 large-v3 turbo tiny.en",
    "clip": "base large vit-b-32 vit-b-16 vit-l-14 large-patch14-336",
    "vit": "tiny small base large huge vit-base-patch32-384 vit-base-patch16-224-in21k",
    "deit": "tiny small base base-384 base-distilled",
    "swin": "tiny small base large",
    "resnet": "resnet18 resnet26 resnet34 50 resnet101 152",
    "mobilenet": "v2 v2-0p35 v2-0p75 v2-1p4 v3-small v3-large small large",
    "mobilevit": "xxs xs s",
    "convnext": "tiny small base large xlarge",
    "efficientnet": "b0 b1 b2 b3 b4 b5 b6 b7",
}
"""Published sizes by family, as tables of measurements write them."""


def test_every_published_size_gets_a_prediction(tmp_path):
    runs = [(model, size) for model, told in SIZES.items() for size in told.split()]
    frame = pd.DataFrame(runs, columns=["model", "size"]).assign(
        gpu="h100", precision="bf16", batch=2, seq=64, mode="prefill", time_ms=1.0
    )
    table = scored(tmp_path, frame).tables[0]
    told = dict(zip(map(" ".join, runs), table.failed, strict=True))
    assert {name: reason for name, reason in told.items() if reason} == {}
    assert (table.column("time").predicted > 0).all()


class TestNames:
    @pytest.mark.parametrize(
        ("model", "size", "profile"),
        [
            ("opt", "opt-1p3b", "facebook/opt-1.3b"),
            ("bert", "large", "google-bert/bert-large-uncased"),
            ("gpt2", "gpt2", "openai-community/gpt2"),
            ("gpt2", "medium", "openai-community/gpt2-medium"),
            ("gpt2", "124m", "openai-community/gpt2"),
            ("roberta", "base", "FacebookAI/roberta-base"),
            ("qwen2", "qwen2-7b", "Qwen/Qwen2-7B"),
            ("llama2", "7b", "meta-llama/Llama-2-7b-hf"),
            ("llama", "llama-3p1-8b", "meta-llama/Llama-3.1-8B"),
            ("mistral", "7b", "mistralai/Mistral-7B-v0.3"),
            ("gemma", "gemma-2b", "google/gemma-2b"),
            ("meta-llama/Llama-3.1-405B-Instruct", "", "meta-llama/Llama-3.1-405B"),
        ],
    )
    def test_a_size_names_an_entry(self, model, size, profile):
        assert names.model(model, size).name == profile

    def test_every_name_of_a_gpu_has_a_profile(self):
        known = names.Names.shipped()
        for name, profile in known.gpus.items():
            assert names.board(name).gpu.name == profile
        for profile in known.hosts.values():
            assert catalog.host(profile).name == profile

    @pytest.mark.parametrize(
        ("name", "profile", "startup_s"),
        [
            ("a100", "a100-pcie-40gb", 1.67),
            ("a100_dvfs", "a100-pcie-40gb", 1.72),
            ("A10_DVFS", "a10-24gb", 1.22),
            ("h100_dvfs", "h100-sxm5-80gb", 1.5),
            ("a100_sxm_dvfs", "a100-sxm4-80gb", 1.5),
            ("l4_dvfs", "l4-24gb", 0.0),
            ("NVIDIA A10", "a10-24gb", 0.0),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-96gb", 0.0),
        ],
    )
    def test_a_board_is_the_same_at_whatever_clocks(self, name, profile, startup_s):
        assert names.board(name).gpu.name == profile
        assert names.startup_s(name) == startup_s

    def test_an_unknown_model_says_how_to_find_one(self):
        with pytest.raises(UnknownNameError, match="energaizer models"):
            names.model("nobody", "huge")
