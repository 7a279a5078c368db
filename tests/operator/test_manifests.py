import pytest

from energaizer_operator.manifests import ManifestError, load

JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n"


def test_documents_lists_and_json_are_read_in_order() -> None:
    text = (
        f"---\n{JOB}---\n# nothing\n---\n"
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: Pod, metadata: {generateName: b-, namespace: n}}\n"
        "---\n"
        '{"apiVersion": "v1", "kind": "Pod"}\n'
    )
    found = load(text, "f.yaml")
    assert [(m.kind, m.name, m.namespace, m.number) for m in found] == [
        ("Job", "a", "default", 1),
        ("Pod", "b-", "n", 3),
        ("Pod", "", "default", 4),
    ]
    assert found[0].place == "f.yaml, document 1 (Job a)"
    assert found[2].place == "f.yaml, document 4 (Pod without name)"
    assert found[0].api_version == "batch/v1"


def test_a_date_stays_text() -> None:
    found = load(JOB + "spec: {when: 2026-11-24T00:00:00Z}\n", "f")
    assert found[0].object["spec"]["when"] == "2026-11-24T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f: holds no manifest"),
        ("---\n---\n", "f: holds no manifest"),
        ("a: [1\n", "f: line 2: not YAML"),
        ("a: b: c\n", "f: line 1: not YAML"),
        ("a\x00b: 1\n", "not YAML"),
        ("&a [*a]", "is a list"),
        ("[" * 5000, "not YAML"),
        ("just words", "f, document 1: is text, not an object"),
        ("- 1\n", "f, document 1: is a list"),
        ("kind: Job\n", "f, document 1: has no apiVersion"),
        ("apiVersion: v1\n", "f, document 1: has no kind"),
        ("apiVersion: 1\nkind: Job\n", "has no apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: []\n", "metadata is a list, not a map"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {labels: [a]}\n", "metadata.labels is a list"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {energaizer.io/requests: 5}}\n",
            'metadata.annotations["energaizer.io/requests"] is a number; write it in quotes: "5"',
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {a: yes}}\n",
            'is a truth value; write it in quotes: "true"',
        ),
        ("apiVersion: v1\nkind: PodList\nitems: [7]\n", "is a number, not an object"),
        ("x" * (16 * 2**20 + 1), "larger than 16 MiB"),
    ],
)
def test_what_is_no_manifest_says_where_and_what_to_do(text: str, says: str) -> None:
    with pytest.raises(ManifestError) as raised:
        load(text, "f")
    assert says in str(raised.value)


def test_the_number_of_the_document_is_that_in_the_file() -> None:
    with pytest.raises(ManifestError, match="f, document 3: has no kind"):
        load(f"{JOB}---\n{JOB}---\napiVersion: v1\n", "f")
