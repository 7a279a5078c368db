"""The chart's mode `certManager` with cert-manager's own controllers and CA injector."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest

from energaizer_operator import certificates
from localcluster import processes
from localcluster.build import build
from polling import until
from released import FULL, NAMESPACE, ON_THE_LOCAL_NODE, RELEASE, World, fresh_world

CHECK_S, RELOAD_S = 5, 60.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A cluster with cert-manager, and our chart in that mode."""
    built = build("cert-manager")
    with fresh_world() as made:
        kinds = [option for path in built.files("crds") for option in ("-f", str(path))]
        made.cluster.kubectl("apply", "--server-side", *kinds)
        made.cluster.wait_for_kinds()
        kubeconfig = f"--kube-config={made.cluster.kubeconfig}"
        child = processes.spawn(
            "cert-manager",
            [str(built.program("cert-manager")), kubeconfig],
            made.cluster.directory,
            leashed=True,
        )
        mode = ["--set", f"certificates.mode=certManager,settings.certificate_check_s={CHECK_S}"]
        mode += ["--set", "controller.replicas=1"]
        made.helm("install", RELEASE, str(made.chart), "--wait", *ON_THE_LOCAL_NODE, *mode)
        yield made
        child.terminate()
        child.wait(60)


def served(world: World) -> bytes:
    """Return the leaf in the Secret."""
    secret = world.get("secret", f"{FULL}-webhook-certificate", "-n", NAMESPACE)
    return base64.b64decode(secret["data"]["tls.crt"])


def test_its_certificate_is_trusted_and_a_new_one_is_served_within_a_minute(world: World) -> None:
    world.helm("test", RELEASE)
    leaf = served(world)
    authority = world.get("secret", f"{FULL}-ca", "-n", NAMESPACE)["data"]["ca.crt"]
    assert certificates.is_issued_by(leaf, base64.b64decode(authority))
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):

        def told(kind: str = kind) -> bool:
            hooks = world.get(kind, FULL)["webhooks"]
            return {hook["clientConfig"]["caBundle"] for hook in hooks} == {authority}

        until(told, f"{kind} has the authority's certificate")
    assert world.ask() == ""

    issue = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "test"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    patch = {"status": {"conditions": [{**issue, "lastTransitionTime": moment}]}}
    world.cluster.kubectl(  # what `cmctl renew` does
        *("patch", "certificate", f"{FULL}-webhook", "-n", NAMESPACE, "--subresource=status"),
        *("--type=merge", "-p", json.dumps(patch)),
    )
    until(lambda: served(world) != leaf, "cert-manager issues another")
    fresh = certificates.expiry(served(world)).timestamp()
    started = time.monotonic()
    while world.leaf_expiries() != {fresh}:
        assert time.monotonic() - started < RELOAD_S, "a replica serves the old one"
        assert world.ask() == ""
        time.sleep(0.5)
    assert world.ask() == ""
