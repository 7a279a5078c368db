"""Profiles by name: aliases, near misses, the user's folder, files that are none."""

import json
from pathlib import Path

import pytest

from energaizer import catalog
from energaizer.errors import InputError, NoEstimateError, ProfileError, UnknownNameError
from energaizer.result import Provenance


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("h100", "h100-sxm5-80gb"),
        ("H100-SXM", "h100-sxm5-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("NVIDIA-A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("Tesla-T4", "t4-16gb"),
        ("AMD Instinct MI300X", "mi300x-192gb"),
        ("a100", "a100-sxm4-80gb"),
        ("a100-pcie-40gb", "a100-pcie-40gb"),
        (" l40s ", "l40s-48gb"),
    ],
)
def test_gpus_answer_to_what_people_type(text, name):
    assert catalog.gpu(text).name == name


@pytest.mark.parametrize(
    "text",
    ["meta-llama/Llama-3.1-8B", "llama-3.1-8b", "LLAMA-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct",
     "Llama-3.1-8B-Instruct", "Meta-Llama-3.1-8B"],
)  # fmt: skip
def test_models_answer_to_what_people_type(text):
    assert catalog.model(text).name == "meta-llama/Llama-3.1-8B"


def test_no_alias_names_two_profiles():
    for found in (catalog.gpus(), catalog.models()):
        spoken = [
            alias.casefold() for profile in found for alias in {profile.name, *profile.aliases}
        ]
        assert len(spoken) == len(set(spoken))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h100-sxn", 'no GPU "h100-sxn"; try "h100-sxm"'),
        ("", 'no GPU ""; `energaizer gpus` lists'),
        ("qqqq" * 100, 'no GPU "qqqq'),
        ("a\nb", r'no GPU "a\nb"'),
    ],
)
def test_a_miss_helps(text, message):
    with pytest.raises(UnknownNameError) as raised:
        catalog.gpu(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_missed_model_helps():
    with pytest.raises(UnknownNameError, match=r'no model "llama3.1-8b"; try "llama-3.1-8b"'):
        catalog.model("llama3.1-8b")


def test_a_name_is_never_a_path(tmp_path):
    file = tmp_path / "gpu.json"
    file.write_text(catalog.gpu("h100").model_dump_json())
    with pytest.raises(UnknownNameError):
        catalog.gpu(str(file))
    assert catalog.resolve_gpu(str(file)) == catalog.gpu("h100")


def test_profiles_are_parsed_once():
    assert catalog.gpu("h100") is catalog.gpu("H100-SXM5-80GB")
    assert catalog.model("gpt2") is catalog.model("openai-community/gpt2")


def _user_folder(root: Path) -> Path:
    (root / "gpus").mkdir(parents=True)
    own = json.loads(catalog.gpu("h100").model_dump_json())
    own |= {"name": "x1", "aliases": ["h100"], "product_names": []}
    (root / "gpus" / "x1.json").write_text(json.dumps(own))
    return root


def test_the_users_folder_adds_and_overrides(tmp_path):
    folder = _user_folder(tmp_path)
    assert catalog.gpu("x1", folder).name == "x1"
    assert catalog.gpu("h100", folder).name == "x1"
    assert catalog.gpu("h100").name == "h100-sxm5-80gb"
    assert len(catalog.gpus(folder)) == len(catalog.gpus()) + 1


def test_the_home_folder_is_the_default(tmp_path, monkeypatch):
    _user_folder(tmp_path / ".config" / "energaizer")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for cache in (catalog._entries, catalog._names, catalog._gpu):  # read once a process
        cache.cache_clear()
    try:
        assert catalog.gpu("x1").name == "x1"
    finally:
        monkeypatch.undo()
        for cache in (catalog._entries, catalog._names, catalog._gpu):
            cache.cache_clear()


def test_a_broken_profile_names_its_file(tmp_path):
    (tmp_path / "gpus").mkdir()
    (tmp_path / "gpus" / "bad.json").write_text("{")
    with pytest.raises(ProfileError, match=r"bad\.json is unreadable"):
        catalog.gpu("h100", tmp_path)


def test_a_profile_that_breaks_the_schema_names_the_field(tmp_path):
    folder = _user_folder(tmp_path)
    file = folder / "gpus" / "x1.json"
    file.write_text(file.read_text().replace('"compute_units": 132', '"compute_units": 0'))
    with pytest.raises(ProfileError, match=r"x1\.json: compute_units: .*, not 0"):
        catalog.gpu("x1", folder)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        catalog.gpu("h100", tmp_path / "absent")


CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip


def test_models_from_a_folder_or_a_file(tmp_path):
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = catalog.resolve_model(str(folder))
    assert (model.name, model.layers, model.head_size) == ("tiny-llama", 2, 16)
    assert catalog.load_model(folder / "config.json") == model
    (tmp_path / "own.json").write_text(catalog.model("gpt2").model_dump_json())
    assert catalog.load_model(tmp_path / "own.json") == catalog.model("gpt2")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", InputError, "is not JSON"),
        ("[]", InputError, "no JSON object"),
        ("[" * 100_000, InputError, "is not JSON"),
        ('{"model_type": "rwkv"}', NoEstimateError, "recurrent layers of another kind"),
        ('{"a": 1}', InputError, "describes no Model: name: Field required"),
        ("\0\0", InputError, "is not JSON"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, error, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=message) as raised:
        catalog.load_model(tmp_path)
    assert "\n" not in str(raised.value)


def test_absent_and_huge_files(tmp_path):
    with pytest.raises(InputError, match="no file"):
        catalog.resolve_model(str(tmp_path / "no.json"))
    with pytest.raises(InputError, match="no file"):
        catalog.load_model(tmp_path)  # a folder without config.json
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(5 * 2**20)
    with pytest.raises(InputError, match="larger"):
        catalog.load_model(tmp_path / "big.json")


def test_resolve_tells_a_gpu_from_a_model(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(catalog.gpu("h100").model_dump_json())
    assert catalog.resolve(str(file)) == catalog.resolve("h100-sxm") == catalog.gpu("h100")
    file.write_text(json.dumps(CONFIG))
    assert catalog.resolve(str(file)).name == "mine"
    assert catalog.resolve("gpt2") == catalog.model("gpt2")
    with pytest.raises(UnknownNameError, match=r'no GPU "h1000"; try .*; no model "h1000"'):
        catalog.resolve("h1000")
    file.write_text('{"peak_flops": {}}')
    with pytest.raises(InputError, match=r"mine\.json describes no Gpu: name: Field required"):
        catalog.resolve(str(file))


def test_coefficients_exist_for_every_gpu():
    for gpu in catalog.gpus():
        found = catalog.coefficients(gpu)
        assert found.gpu == gpu.name
        assert found.provenance in set(Provenance)


def test_hosts_by_name():
    assert catalog.host("serving").name == "serving"
    with pytest.raises(UnknownNameError, match='no host "servng"; try "serving"'):
        catalog.host("servng")
    with pytest.raises(UnknownNameError, match=r"known are .*serving"):
        catalog.host("zzz")


def test_profiles_travel_in_the_package():
    root = Path(catalog.__file__).parent / "profiles"
    assert {file.stem for file in (root / "gpus").glob("*.json")} == {
        g.name for g in catalog.gpus()
    }
