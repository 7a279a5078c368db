"""`cluster` against an HTTP server that answers as the API server does."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from energaizer_operator import cluster as room
from energaizer_operator.cluster import Cluster, ClusterError, Conflict, Expired, Missing, Refused
from energaizer_operator.kinds import AIWORKLOADS, NODES, PODS
from energaizer_operator.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Records requests and answers by method and path."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.answers: dict[tuple[str, str], Handler] = {}

    def answer(self, method: str, path: str, body: Any, status: int = 200) -> None:
        async def handler(_: web.Request) -> web.Response:
            return web.json_response(body, status=status)

        self.answers[method, path] = handler

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        kind = request.headers.get("Content-Type", "") if text else request.headers["Accept"]
        body = json.loads(text) if text else None
        self.seen.append((request.method, request.path, dict(request.query), kind, body))
        handler = self.answers.get((request.method, request.path))
        if handler is None:
            return web.json_response({"message": "not found"}, status=404)
        return await handler(request)


@pytest.fixture
def api() -> Api:
    made = Api()
    made.answer("GET", "/version", {"gitVersion": "v1.37.2"})
    return made


@pytest.fixture
async def connected(api: Api, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with connection(api, tmp_path) as found:
        yield found


@pytest.fixture
async def impatient(api: Api, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with connection(api, tmp_path, request_timeout_s=2, watch_silence_s=0.2) as found:
        yield found


@asynccontextmanager
async def connection(api: Api, tmp_path: Path, **patience: float) -> AsyncIterator[Cluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    async with TestServer(app) as server:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}
            ],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        settings = Settings(kubeconfig=path, page_size=2, **patience)
        found = await Cluster.connect(settings)
        yield found
        await found.close()


async def test_no_kubeconfig_and_no_server_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no cluster: cannot use .*/absent"):
        await Cluster.connect(Settings(kubeconfig=tmp_path / "absent"))
    config = tmp_path / "dead"
    config.write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}],"
        " users: [{name: u, user: {token: t}}], current-context: x,"
        " contexts: [{name: x, context: {cluster: c, user: u}}]}"
    )
    with pytest.raises(room.Unreachable, match=r"no answer from http://127\.0\.0\.1:9"):
        await Cluster.connect(Settings(kubeconfig=config))


@pytest.mark.parametrize(
    "text", ["", "just text", "- a\n- b", "a: [1,", "{clusters: [{name: c}], contexts: 7}"]
)
async def test_a_file_that_is_no_kubeconfig_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ClusterError, match=r"no cluster: cannot use .*/config: .*--kubeconfig"):
        await Cluster.connect(Settings(kubeconfig=path))


async def test_an_authority_that_is_no_certificate_is_said_to_be_none(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("no certificate")
    config = {
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://x", "certificate-authority": str(authority)},
            }
        ],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ClusterError, match="no cluster: a certificate cannot be read"):
        await Cluster.connect(Settings(kubeconfig=path))


async def test_who_names_no_namespace_gets_that_of_the_context(tmp_path: Path, api: Api) -> None:
    async with connection(api, tmp_path) as plain:
        assert plain.namespace == "default"
        path = tmp_path / "config"
        document = yaml.safe_load(path.read_text())
        document["contexts"].append(
            {"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}
        )
        path.write_text(yaml.safe_dump(document))
        other = await Cluster.connect(Settings(kubeconfig=path, context="y"))
        assert other.namespace == "team-a"
        await other.close()
        with pytest.raises(ClusterError, match="with name z"):
            await Cluster.connect(Settings(kubeconfig=path, context="z"))


async def test_one_of_several_kubeconfigs_is_enough(api: Api, tmp_path: Path) -> None:
    async with connection(api, tmp_path):
        listed = Path(f"{tmp_path / 'absent'}:{tmp_path / 'config'}")
        both = await Cluster.connect(Settings(kubeconfig=listed))
        assert both.connection().token == "secret"
        await both.close()
    with pytest.raises(ClusterError, match="no such file"):
        await Cluster.connect(Settings(kubeconfig=Path("/absent:/gone")))


async def test_token_travels_and_is_given_to_other_libraries(connected: Cluster) -> None:
    known = connected.connection()
    assert known.token == "secret"
    assert known.server.startswith("http://127.0.0.1")


async def test_list_goes_page_by_page_with_one_selector(connected: Cluster, api: Api) -> None:
    path = "/api/v1/namespaces/a/pods"

    async def pages(request: web.Request) -> web.Response:
        last = "continue" in request.query
        items = [{"metadata": {"name": "c" if last else "b"}}]
        rest = {} if last else {"continue": "more"}
        return web.json_response({"items": items, "metadata": {"resourceVersion": "7", **rest}})

    api.answers["GET", path] = pages
    found = [page async for page in connected.pages(PODS, "a", labels="l")]
    assert [page.items[0]["metadata"]["name"] for page in found] == ["b", "c"]
    assert [page.resource_version for page in found] == ["7", "7"]
    assert found[0].items[0]["kind"] == "Pod"
    queries = [query for _, where, query, *_ in api.seen if where == path]
    assert queries == [
        {"limit": "2", "labelSelector": "l"},
        {"limit": "2", "labelSelector": "l", "continue": "more"},
    ]


async def test_metadata_alone_is_asked_for_where_that_is_enough(
    connected: Cluster, api: Api
) -> None:
    api.answer("GET", "/api/v1/nodes", {"items": None, "metadata": {}})  # as real ones do
    assert [page.items async for page in connected.pages(NODES, metadata_only=True)] == [[]]
    assert "as=PartialObjectMetadataList" in api.seen[-1][3]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, Missing), (409, Conflict), (410, Expired), (403, Refused), (422, Refused)],
)
async def test_status_becomes_an_error_with_the_servers_words(
    connected: Cluster, api: Api, status: int, kind: type[ClusterError]
) -> None:
    api.answer("GET", "/api/v1/nodes/a", {"message": "because"}, status)
    with pytest.raises(kind, match="because") as caught:
        await connected.get(NODES, "a")
    assert caught.value.status == status
    assert (await connected.find(NODES, "b")) is None


async def test_server_error_is_no_decision(connected: Cluster, api: Api) -> None:
    api.answer("GET", "/api/v1/nodes/a", {"message": "overload"}, 503)
    with pytest.raises(ClusterError) as caught:
        await connected.get(NODES, "a")
    assert type(caught.value) is ClusterError


async def test_metadata_are_the_whole_answer_to_a_write_where_that_is_enough(
    connected: Cluster, api: Api
) -> None:
    seen: list[str] = []
    path = "/apis/energaizer.io/v1alpha1/namespaces/a/aiworkloads/w/status"

    async def answer(request: web.Request) -> web.Response:
        seen.extend(request.headers[name] for name in ("Accept", "Accept-Encoding"))
        return web.json_response({"metadata": {"resourceVersion": "7"}})

    api.answers["PATCH", path] = answer
    found = await connected.apply_status(AIWORKLOADS, "w", "a", {}, metadata_only=True)
    assert found == {"metadata": {"resourceVersion": "7"}}
    assert seen[0].startswith("application/json;as=PartialObjectMetadata;")
    assert seen[1] == "identity"


async def test_status_is_applied_as_its_owner(connected: Cluster, api: Api) -> None:
    path = "/apis/energaizer.io/v1alpha1/namespaces/a/aiworkloads/w/status"
    api.answer("PATCH", path, {})
    await connected.apply_status(AIWORKLOADS, "w", "a", {"task": "Training"})
    method, _, query, kind, body = api.seen[-1]
    assert (method, kind) == ("PATCH", "application/apply-patch+yaml")
    assert query == {"fieldManager": "energaizer-controller", "force": "true"}
    assert body == {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": "w", "namespace": "a"},
        "status": {"task": "Training"},
    }


async def test_metadata_is_applied_to_the_object_of_that_uid_alone(
    connected: Cluster, api: Api
) -> None:
    api.answer("PATCH", "/api/v1/nodes/a", {})
    await connected.apply_metadata(NODES, "a", None, uid="u", force=False, labels={"k": "v"})
    _, _, query, _, body = api.seen[-1]
    assert query == {"fieldManager": "energaizer-controller", "force": "false"}
    metadata = {"name": "a", "uid": "u", "labels": {"k": "v"}}
    assert body == {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


async def test_writes_use_the_right_verbs(connected: Cluster, api: Api) -> None:
    path = "/api/v1/namespaces/a/pods"
    api.answer("POST", path, {})
    for method in ("PUT", "PATCH", "DELETE"):
        api.answer(method, f"{path}/p", {})
    body = {"metadata": {"name": "p", "namespace": "a", "resourceVersion": "3"}}
    await connected.create(PODS, body)
    await connected.replace(PODS, body)
    await connected.patch(PODS, "p", "a", [{"op": "add", "path": "/x", "value": 1}])
    await connected.delete(PODS, "p", "a")
    await connected.delete(PODS, "gone", "a")
    made = [(method, kind) for method, _, _, kind, _ in api.seen[1:4]]
    assert made == [
        ("POST", "application/json"),
        ("PUT", "application/json"),
        ("PATCH", "application/json-patch+json"),
    ]
    assert api.seen[2][4]["metadata"]["resourceVersion"] == "3"


def lines(*changes: dict[str, Any], hold: float = 0.0) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        import asyncio  # noqa: PLC0415

        response = web.StreamResponse()
        await response.prepare(request)
        for change in changes:
            await response.write(json.dumps(change).encode() + b"\n")
        await asyncio.sleep(hold)
        return response

    return handler


async def test_watch_yields_changes_and_bookmarks_until_the_server_ends_it(
    connected: Cluster, api: Api
) -> None:
    pod = {"metadata": {"name": "p", "resourceVersion": "8"}}
    mark = {"metadata": {"resourceVersion": "9"}}
    api.answers["GET", "/api/v1/pods"] = lines(
        {"type": "ADDED", "object": pod}, {"type": "BOOKMARK", "object": mark}
    )
    changes = [change async for change in connected.watch(PODS, "7")]
    assert [change.type for change in changes] == ["ADDED", "BOOKMARK"]
    query = api.seen[-1][2]
    assert (query["resourceVersion"], query["allowWatchBookmarks"]) == ("7", "true")


async def test_watch_that_is_too_old_says_so(connected: Cluster, api: Api) -> None:
    error = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
    api.answers["GET", "/api/v1/pods"] = lines(error)
    with pytest.raises(Expired, match="too old"):
        _ = [change async for change in connected.watch(PODS, "1")]


async def test_silent_watch_is_broken_off(impatient: Cluster, api: Api) -> None:
    api.answers["GET", "/api/v1/pods"] = lines(hold=5.0)
    with pytest.raises(room.Unreachable, match="watch of pods broke"):
        _ = [change async for change in impatient.watch(PODS, "1")]


async def test_slow_answer_is_no_answer(impatient: Cluster, api: Api) -> None:
    api.answers["GET", "/api/v1/nodes/a"] = lines(hold=5.0)
    with pytest.raises(room.Unreachable):
        await impatient.get(NODES, "a")
