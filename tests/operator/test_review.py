import base64
import json
from typing import Any

import pytest

from energaizer_operator.webhook import review
from energaizer_operator.webhook.review import MalformedReviewError, Patch


def body(**changes: Any) -> bytes:
    request: dict[str, Any] = {
        "uid": "7f0b",
        "kind": {"group": "batch", "version": "v1", "kind": "Job"},
        "resource": {"group": "batch", "version": "v1", "resource": "jobs"},
        "name": "train",
        "namespace": "team-a",
        "operation": "CREATE",
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": {"metadata": {"name": "train"}},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions"},
    }
    request.update(changes)
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(document).encode()


def test_a_request_is_read() -> None:
    request = review.parse(body())
    assert request.api_version == "batch/v1"
    assert request.user.username == "jane"
    assert request.object == {"metadata": {"name": "train"}}
    assert request.old_object is None
    assert (
        review.parse(body(kind={"group": "", "version": "v1", "kind": "Pod"})).api_version == "v1"
    )


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b'{"apiVersion": NaN}', "NaN"),
        (b"[]", "not an object but list"),
        (b"{}", "not AdmissionReview"),
        (b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}', "not Admission"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "request"),
        (body(uid=""), "request.uid"),
        (body(uid=7), "request.uid"),
        (body(uid="\ud800"), "request.uid"),
        (body(operation="PATCH"), "request.operation"),
        (body(object=[1]), "request.object"),
        (body(object="a"), "request.object"),
        (body(userInfo={"groups": [1]}), "request.userInfo.groups"),
        (body(dryRun="yes"), "request.dryRun"),
        (body()[:-9], "not JSON"),
    ],
)
def test_what_is_no_review_is_refused_with_its_place(broken: bytes, says: str) -> None:
    with pytest.raises(MalformedReviewError, match=says):
        review.parse(broken)


def test_an_answer_carries_the_uid_and_no_empty_members() -> None:
    assert review.encode(review.allow(), "7f0b") == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "7f0b", "allowed": True},
    }


def test_a_denial_says_why_and_whether_to_come_back() -> None:
    answer = review.encode(review.deny("too\nmuch", ["careful"], {"decision": "deny"}), "u")
    assert answer["response"] == {
        "uid": "u",
        "allowed": False,
        "status": {"status": "Failure", "code": 403, "reason": "Forbidden", "message": "too much"},
        "warnings": ["careful"],
        "auditAnnotations": {"decision": "deny"},
    }
    status = review.encode(review.busy("wait"), "u")["response"]["status"]
    assert status["code"] == 429
    assert status["details"] == {"retryAfterSeconds": 1}
    assert review.encode(review.invalid("no"), "u")["response"]["status"]["code"] == 422


def test_warnings_fit_what_the_server_passes_on() -> None:
    kept = review.trim(["a" * 300, "a" * 300, "", "b\n\x00c", *(f"{i:0256d}" for i in range(20))])
    assert kept[0] == "a" * 255 + "…"
    assert kept[1] == "b c"
    assert all(len(warning) <= 256 for warning in kept)
    assert sum(map(len, kept)) <= 4096
    assert len(kept) == 16


def test_odd_characters_survive_as_json_that_go_reads() -> None:
    encoded = json.dumps(review.encode(review.deny("\ud800 ☃ \u202e"), "u"))
    assert json.loads(encoded)["response"]["status"]["message"] == "☃"


def patch(document: dict[str, Any], *additions: tuple[tuple[str | int, ...], Any]) -> list[Any]:
    builder = Patch(document)
    for path, value in additions:
        builder.put(path, value)
    encoded = review.encode(review.allow(patch=builder.operations), "u")["response"]
    assert ("patch" in encoded) == bool(builder.operations)
    return json.loads(base64.b64decode(encoded["patch"])) if builder.operations else []


def test_members_of_a_map_are_added_together() -> None:
    members = {"a/b": "1", "c": "2", "d": "3"}
    path = ("metadata", "annotations")
    for present in (None, {}, {"d": "0", "user": "x", "c": "2"}):
        document = {"metadata": {"annotations": present}}
        before = json.dumps(document)
        builder = Patch(document)
        builder.put_all(path, members)
        whole = {**(present or {}), **members}
        assert builder.operations == [
            {"op": "add", "path": "/metadata/annotations", "value": whole}
        ]
        assert json.dumps(document) == before
        builder.put((*path, "d"), "3")
        builder.put_all(path, members)
        assert len(builder.operations) == 1
    for absent in ({}, {"metadata": None}):
        builder = Patch(absent)
        builder.put_all(path, members)
        whole = {"annotations": members}
        assert builder.operations == [{"op": "add", "path": "/metadata", "value": whole}]
    for wrong in ("text", [], 1):
        with pytest.raises(review.MalformedReviewError):
            Patch({"metadata": {"annotations": wrong}}).put_all(path, members)


def test_parents_are_made_once() -> None:
    document = {"metadata": {"name": "p", "annotations": None}}
    operations = patch(
        document,
        (("metadata", "labels", "a/b"), "1"),
        (("metadata", "labels", "c~d"), "2"),
        (("metadata", "annotations", "x"), "3"),
        (("spec", "affinity", "nodeAffinity", "list", "-"), {"weight": 1}),
        (("spec", "affinity", "nodeAffinity", "list", "-"), {"weight": 2}),
    )
    assert operations == [
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1"}},
        {"op": "add", "path": "/metadata/labels/c~0d", "value": "2"},
        {"op": "add", "path": "/metadata/annotations", "value": {"x": "3"}},
        {
            "op": "add",
            "path": "/spec",
            "value": {"affinity": {"nodeAffinity": {"list": [{"weight": 1}]}}},
        },
        {"op": "add", "path": "/spec/affinity/nodeAffinity/list/-", "value": {"weight": 2}},
    ]
    assert document == {"metadata": {"name": "p", "annotations": None}}


def test_what_is_there_already_is_left() -> None:
    document = {"metadata": {"labels": {"a": "1"}}, "terms": [{"matchExpressions": ["x"]}, {}]}
    assert patch(document, (("metadata", "labels", "a"), "1")) == []
    assert patch(
        document,
        (("terms", 0, "matchExpressions", "-"), "y"),
        (("terms", 1, "matchExpressions", "-"), "y"),
    ) == [
        {"op": "add", "path": "/terms/0/matchExpressions/-", "value": "y"},
        {"op": "add", "path": "/terms/1/matchExpressions", "value": ["y"]},
    ]


def test_a_document_of_the_wrong_shape_is_no_crash() -> None:
    for document in ({"metadata": "text"}, {"metadata": ["text"]}, {"metadata": {"labels": 7}}):
        with pytest.raises(MalformedReviewError):
            patch(document, (("metadata", "labels", "a"), "1"))
