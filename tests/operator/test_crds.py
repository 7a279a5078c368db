"""The generated CRDs: committed as generated, bounded everywhere, structural."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from energaizer_operator import crds
from energaizer_operator.names import Kind
from energaizer_operator.resources import MODELS

CRDS = Path(__file__).parents[2] / "crds"
MAX_BYTES = 200_000


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas(schema[key], f"{path}[]")


def every_schema() -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for kind, model in MODELS.items():
        root = crds.open_api(model)
        for part in ("spec", "status"):
            found += schemas(root["properties"][part], f"{kind}.{part}")
    return found


def test_committed_files_are_the_generated_ones() -> None:
    assert crds.main(["--check", "--out", str(CRDS)]) == 0


def test_check_finds_a_stale_a_missing_and_a_surplus_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crds.main(["--out", str(tmp_path)]) == 0
    assert crds.main(["--check", "--out", str(tmp_path)]) == 0
    (tmp_path / "aiworkloads.yaml").write_text("stale")
    (tmp_path / "gpuprofiles.yaml").unlink()
    (tmp_path / "gone.yaml").write_text("surplus")
    assert crds.main(["--check", "--out", str(tmp_path)]) == 1
    assert "aiworkloads.yaml, gone.yaml, gpuprofiles.yaml differ" in capsys.readouterr().err


def test_each_file_stays_small() -> None:
    sizes = {name: len(text) for name, text in crds.render().items()}
    assert all(size < MAX_BYTES for size in sizes.values()), sizes


def test_kustomization_lists_every_definition() -> None:
    listed = yaml.safe_load(crds.render()["kustomization.yaml"])["resources"]
    assert listed == [
        "aiworkloads.yaml",
        "energybudgets.yaml",
        "energypolicies.yaml",
        "energyreservations.yaml",
        "gpuprofiles.yaml",
    ]


@pytest.mark.parametrize(
    ("path", "schema"), every_schema(), ids=[path for path, _ in every_schema()]
)
def test_every_value_is_bounded_and_described(path: str, schema: dict[str, Any]) -> None:
    kind = schema["type"]
    assert kind in {"object", "array", "string", "integer", "boolean"}, "no floats"
    if kind == "string":
        assert "maxLength" in schema or "enum" in schema or schema.get("format") == "date-time"
    elif kind == "integer":
        assert "minimum" in schema
        assert "maximum" in schema
        assert schema["format"] == "int64"
    elif kind == "array":
        assert "maxItems" in schema
        assert schema["x-kubernetes-list-type"] in {"atomic", "set", "map"}
    elif kind == "object" and "properties" not in schema:
        assert "maxProperties" in schema
    assert "x-kubernetes-preserve-unknown-fields" not in schema
    if not path.endswith("[]"):
        assert schema["description"].endswith(('."', ".")) or schema["description"][-1] in '."'


def test_no_input_of_an_ai_workload_has_a_default_but_the_what_if_lists() -> None:
    spec = crds.open_api(MODELS[Kind.AI_WORKLOAD])["properties"]["spec"]
    with_default = {path for path, schema in schemas(spec) if "default" in schema}
    assert with_default == {
        ".whatIf.profiles",
        ".whatIf.clocksMegahertz",
        ".whatIf.powerCapsWatts",
    }


def test_status_has_no_defaults() -> None:
    for model in MODELS.values():
        status = crds.open_api(model)["properties"]["status"]
        assert not [path for path, schema in schemas(status) if "default" in schema]


def test_definition_of_the_workload_names_and_columns() -> None:
    spec = crds.definition(Kind.AI_WORKLOAD, MODELS[Kind.AI_WORKLOAD])["spec"]
    assert spec["scope"] == "Namespaced"
    assert spec["names"] == {
        "kind": "AIWorkload",
        "listKind": "AIWorkloadList",
        "plural": "aiworkloads",
        "singular": "aiworkload",
        "shortNames": ["aiw"],
        "categories": ["energaizer"],
    }
    columns = [column["name"] for column in spec["versions"][0]["additionalPrinterColumns"]]
    assert columns == [
        *("Task", "Model", "GPU", "GPUs", "Power", "Energy", "Budget", "Ready", "Age"),
        *("Method", "Source", "Error%", "Reason"),
    ]
