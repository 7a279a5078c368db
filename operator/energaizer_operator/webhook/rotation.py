"""Keeps the webhook's certificates: made, stored, renewed, and announced to the API server.

Every replica runs this, so that none waits for a leader. The Secret is the truth: a replica writes
it only over the version that it read, and one that comes second reads what the first wrote. What to
do about it is decided in `certificates.renew`.

An API server uses a `caBundle` only once its watch has brought it, and cannot tell us when that
is. So a new CA signs no leaf before a replica has seen it published for `authority_settling_s`, far
longer than a watch takes: no handshake meets a leaf whose CA its caller does not know yet. Each
replica keeps that time in memory; one that restarts begins it anew, and none is in a hurry.
"""

import base64
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from energaizer_operator import certificates
from energaizer_operator.certificates import KeyPair, Material
from energaizer_operator.cluster import Cluster, ClusterError, Conflict, Object
from energaizer_operator.kinds import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS, ApiResource
from energaizer_operator.names import (
    GROUP,
    LABEL_APP_MANAGED_BY,
    LABEL_APP_PART_OF,
    PART_OF,
    WEBHOOK_FIELD_MANAGER,
)
from energaizer_operator.settings import Settings

ATTEMPTS = 8  # replicas that start together take turns; each conflict means that one has finished
CONFIGURATIONS = (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS)

log = logging.getLogger(__name__)


class Rotator:
    """Holds the certificates of one Service and tells the webhook configurations whom to trust."""

    def __init__(self, cluster: Cluster, settings: Settings, now: Callable[[], datetime]) -> None:
        """Prepare; `now` returns the time, aware."""
        self._cluster = cluster
        self._settings = settings
        self._now = now
        self._published: tuple[bytes, datetime] | None = None
        self.announced = False
        """Whether both webhook configurations exist and name our authority."""

    @property
    def names(self) -> tuple[str, ...]:
        """DNS names by which the API server calls us."""
        host = f"{self._settings.webhook_service}.{self._settings.namespace}.svc"
        return (host, f"{host}.cluster.local")

    async def step(self) -> Material:
        """Bring Secret and `caBundle` up to date; returns what to serve now.

        Raises:
            ClusterError: The API server cannot be reached or refuses; what is served stays good.
        """
        known = await self._announced()
        for _ in range(ATTEMPTS):
            secret = await self._cluster.find(
                SECRETS, self._settings.certificate_secret, self._settings.namespace
            )
            stored = read(secret)
            trusted = stored.authority.certificate if stored else b""
            settled = self._settled(trusted, known)
            material = certificates.renew(
                stored, self.names, self._now(), trusted if settled else b""
            )
            if material == stored or await self._store(secret, material):
                await self._announce(material.trusted)
                return material
        raise Conflict(f"Secret {self._settings.certificate_secret} changes all the time", 409)

    def _settled(self, authority: bytes, known: list[bytes]) -> bool:
        """Say whether every bundle in `known` has held `authority` for long enough.

        Only then does each API server use a bundle that holds it.
        """
        if not all(certificates.contains(bundle, authority) for bundle in known):
            self._published = None
            return False
        now = self._now()
        if self._published is None or self._published[0] != authority:
            self._published = authority, now
        settling = timedelta(seconds=self._settings.authority_settling_s)
        return now - self._published[1] >= settling

    async def _store(self, secret: Object | None, material: Material) -> bool:
        """Write the Secret; False if another replica wrote it since."""
        try:
            if secret is None:
                await self._cluster.create(
                    SECRETS, self._new_secret(material), manager=WEBHOOK_FIELD_MANAGER
                )
            else:
                data = {**(secret.get("data") or {}), **write(material)}
                await self._cluster.replace(SECRETS, {**secret, "data": data})
        except Conflict:
            return False
        log.info(
            "wrote certificate for %s, valid until %s",
            self.names[0],
            certificates.expiry(material.leaf.certificate).isoformat(),
        )
        return True

    def _new_secret(self, material: Material) -> Object:
        return {
            "apiVersion": SECRETS.api_version,
            "kind": SECRETS.kind,
            "metadata": {
                "name": self._settings.certificate_secret,
                "namespace": self._settings.namespace,
                "labels": {LABEL_APP_PART_OF: PART_OF, LABEL_APP_MANAGED_BY: WEBHOOK_FIELD_MANAGER},
            },
            "type": "Opaque",
            "data": write(material),
        }

    async def _announced(self) -> list[bytes]:
        """Return every `caBundle` of our webhooks."""
        found = []
        for resource in CONFIGURATIONS:
            configuration = await self._configuration(resource)
            found += [_bundle(webhook) for _, webhook in _ours(configuration)]
        return found

    async def _announce(self, bundle: bytes) -> None:
        """Write the bundle into every webhook of ours that has another."""
        found = 0
        encoded = base64.b64encode(bundle).decode()
        for resource in CONFIGURATIONS:
            configuration = await self._configuration(resource)
            found += bool(configuration)
            operations: list[dict[str, Any]] = []
            for index, webhook in _ours(configuration):
                if _bundle(webhook) != bundle:
                    path = f"/webhooks/{index}"
                    operations += [
                        {"op": "test", "path": f"{path}/name", "value": webhook["name"]},
                        {"op": "add", "path": f"{path}/clientConfig/caBundle", "value": encoded},
                    ]
            if operations:
                await self._cluster.patch(
                    resource, self._settings.webhook_configuration, None, operations
                )
                log.info("wrote caBundle of %s", resource.kind)
        self.announced = found == len(CONFIGURATIONS)

    async def _configuration(self, resource: ApiResource) -> Object:
        name = self._settings.webhook_configuration
        found = await self._cluster.find(resource, name)
        if found is None:
            log.warning(
                "%s %s is missing: nothing is judged until it is there", resource.kind, name
            )
        return found or {}


class Provided:
    """Reads certificates that cert-manager or an admin keeps in the Secret; writes nothing."""

    announced = True
    """Whom the API server trusts is theirs to say."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        """Prepare. An expired certificate is served too: it is theirs to replace."""
        self._cluster = cluster
        self._settings = settings

    async def step(self) -> Material:
        """Return what to serve now.

        Raises:
            ClusterError: No usable pair is there; what is served stays.
        """
        name, namespace = self._settings.certificate_secret, self._settings.namespace
        secret = await self._cluster.get(SECRETS, name, namespace)
        data = secret.get("data") or {}
        try:
            leaf, key, authority = (
                base64.b64decode(data.get(part, ""), validate=True)
                for part in ("tls.crt", "tls.key", "ca.crt")
            )
            pair = KeyPair(leaf, key)
            authority = certificates.split(authority)[0] if authority.strip() else b""
        except ValueError:
            pair, authority = KeyPair(b"", b""), b""
        if not certificates.belong_together(pair):
            raise ClusterError(
                f"Secret {namespace}/{name} has no tls.crt with the tls.key that belongs to it; "
                "put a PEM certificate chain and its private key there"
            )
        return Material(pair, KeyPair(authority, b""), authority)


def read(secret: Object | None) -> Material | None:
    """Return what a Secret holds; None if it lacks something or its encoding is broken."""
    data = (secret or {}).get("data") or {}
    try:
        leaf, key, bundle, authority_key = (
            base64.b64decode(data[name], validate=True)
            for name in ("tls.crt", "tls.key", "ca.crt", "ca.key")
        )
        authority = certificates.split(bundle)[0]
    except (KeyError, ValueError):
        return None
    return Material(KeyPair(leaf, key), KeyPair(authority, authority_key), bundle)


def write(material: Material) -> dict[str, str]:
    """Return `data` of the Secret."""
    parts = {
        "tls.crt": material.leaf.certificate,
        "tls.key": material.leaf.key,
        "ca.crt": material.trusted,
        "ca.key": material.authority.key,
    }
    return {name: base64.b64encode(part).decode() for name, part in parts.items()}


def _ours(configuration: Object) -> list[tuple[int, Object]]:
    return [
        (index, webhook)
        for index, webhook in enumerate(configuration.get("webhooks") or ())
        if f".{GROUP}" in webhook["name"]
    ]


def _bundle(webhook: Object) -> bytes:
    return base64.b64decode(webhook.get("clientConfig", {}).get("caBundle") or "")
