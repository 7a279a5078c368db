"""How much of public manifests is read: what they state rightly, and nothing that they do not."""

from pathlib import Path

import pytest
import yaml

from energaizer_operator import estimation, owners, runtimes

FILES = sorted((Path(__file__).parents[1] / "data").glob("public-*.yaml"))
KEYS = {
    "tp": "parallelism.tensor",
    "pp": "parallelism.pipeline",
    "dp": "parallelism.data",
    "ep": "parallelism.expert",
    "weights": "model.weightPrecision",
    "precision": "model.precision",
    "task": "task",
    "micro": "training.microBatchSize",
    "batch": "training.globalBatchSize",
    "length": "training.sequenceLength",
    "steps": "training.steps",
}


def documents() -> list[tuple[str, dict[str, str], dict[str, object]]]:
    found = []
    for text in "\n---\n".join(file.read_text() for file in FILES).split("\n---\n"):
        (line,) = [one for one in text.splitlines() if one.startswith("# expect:")]
        words = line.partition(":")[2].split()
        expected = dict(word.split("=", 1) for word in words if word != "nothing")
        body = yaml.safe_load(text)
        found.append((body["metadata"]["name"], expected, body))
    return found


DOCUMENTS = documents()


@pytest.mark.parametrize(
    ("expected", "body"),
    [one[1:] for one in DOCUMENTS],
    ids=[one[0] for one in DOCUMENTS],
)
def test_a_manifest_is_read_as_a_reader_would(
    expected: dict[str, str], body: dict[str, object]
) -> None:
    described = owners.describe(body)
    assert described is not None
    parts = estimation.model_parts()
    found = runtimes.of_workload(described, parts)
    model = expected.get("as") or expected.get("model")
    said = found.values.get("model.name")
    assert (said and said.casefold()) == (model and model.casefold()), found
    stated = {key: text for key, text in expected.items() if key in KEYS}
    read = {key: found.values[path] for key, path in KEYS.items() if path in found.values}
    for beside in ("weights", "precision"):
        if beside not in stated:
            read.pop(beside, None)
    if read.get("task") == "Inference":
        del read["task"]
    # One GPU needs no degree: a runtime may say so, or leave it out.
    assert {"tp": "1", **read} == {"tp": "1", **stated} or (not model and "tp" not in read), found
