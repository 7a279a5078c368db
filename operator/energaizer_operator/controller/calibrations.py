"""Coefficients that GPUProfiles name in ConfigMaps: read, checked, and kept for every estimate.

A broken one is never used: estimates go on with the coefficients that are shipped, and the
profile's condition says what to mend. Nobody watches ConfigMaps, since that would need the right to
list them: one is read whenever its profile is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from energaizer_operator import estimation
from energaizer_operator.cluster import Cluster, ClusterError, Missing, Object, Refused
from energaizer_operator.estimation import CalibrationError
from energaizer_operator.kinds import CONFIGMAPS
from energaizer_operator.names import CALIBRATION_KEY, Reason
from energaizer_operator.resources.gpuprofile import CalibrationConfigMap, GPUProfile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """What became of the ConfigMap that a profile names."""

    reason: Reason
    message: str
    text: str | None = None
    """The coefficients; None where they cannot be used."""


class Calibrations:
    """Coefficients by profile."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin with none."""
        self._cluster = cluster
        self._texts: dict[str, str] = {}

    @property
    def texts(self) -> Mapping[str, str]:
        """Return the coefficients that may be used, by profile."""
        return self._texts

    async def begin(self, profiles: Iterable[Object]) -> None:
        """Read the coefficients of all profiles, so that the first estimates have them."""
        for body in profiles:
            try:
                await self.load(GPUProfile.of_server(body))
            except (ClusterError, ValidationError) as error:
                log.warning("GPUProfile %s: calibration: %s", body["metadata"]["name"], error)

    def forget(self, profile: str) -> bool:
        """Drop the coefficients of a profile; say whether there were any."""
        return self._texts.pop(profile, None) is not None

    async def load(self, profile: GPUProfile) -> tuple[Loaded | None, bool]:
        """Return what became of a profile's ConfigMap, None without one, and whether that is news.

        Raises:
            ClusterError: The API server failed; what was read before stays in use.
        """
        stated, name = profile.spec.calibration, profile.metadata.name
        reference = None if stated is None else stated.config_map_ref
        if stated is None or reference is None:
            return None, self.forget(name)
        loaded = await self._read(reference, stated.digest, name)
        if loaded.text is None:
            return loaded, self.forget(name)
        changed = self._texts.get(name) != loaded.text
        self._texts[name] = loaded.text
        return loaded, changed

    async def _read(
        self, reference: CalibrationConfigMap, digest: str | None, profile: str
    ) -> Loaded:
        what = f"ConfigMap {reference.namespace}/{reference.name}"
        try:
            body = await self._cluster.get(CONFIGMAPS, reference.name, reference.namespace)
        except Missing:
            return _unusable(Reason.NOT_FOUND, f"{what} does not exist; create it")
        except Refused:
            mend = (
                "bind ClusterRole energaizer-model-configs to ServiceAccount energaizer-controller "
                f"in {reference.namespace}, or keep it in energaizer's own namespace"
            )
            return _unusable(Reason.FORBIDDEN, f"{what} may not be read; {mend}")
        text = (body.get("data") or {}).get(CALIBRATION_KEY)
        if text is None:
            return _unusable(
                Reason.INVALID_CONFIG_MAP, f"{what} has no key {CALIBRATION_KEY}; add it"
            )
        found = estimation.calibration_digest(text)
        if digest is not None and found != digest:
            message = (
                f"{CALIBRATION_KEY} of {what} has {found}, the profile asks for {digest}; restore "
                "the ConfigMap, or review it and set spec.calibration.digest"
            )
            return _unusable(Reason.DIGEST_MISMATCH, message)
        try:
            estimation.check_calibration(text, profile)
        except CalibrationError as error:
            return _unusable(Reason.INVALID_CONFIG_MAP, f"{what}: {error}")
        return Loaded(Reason.CALIBRATION_LOADED, f"coefficients of {what}, {found}", text)


def _unusable(reason: Reason, message: str) -> Loaded:
    return Loaded(reason, f"{message}; until then estimates rest on what is shipped")
