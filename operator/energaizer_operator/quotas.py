"""ResourceQuotas on watts, as the API server counts them: for a review that has none to ask.

Watts at once are no budget of ours: a quota on `requests.energaizer.io/watts` counts what admission
wrote on the pods. It refuses pods, so that a bare pod is refused at once, while a Job or Deployment
is let in and its pods wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from energaizer_operator import watts
from energaizer_operator.names import RESOURCE_WATTS

KEY = f"requests.{RESOURCE_WATTS}"


@dataclass(frozen=True)
class Quota:
    """What one ResourceQuota leaves of its watts."""

    namespace: str
    name: str
    hard: int
    used: int = 0

    def exceeded(self, wanted: int) -> str:
        """Return why a pod that requests so many watts is refused, in the API server's words."""
        if self.used + wanted <= self.hard:
            return ""
        amounts = (("requested", wanted), ("used", self.used), ("limited", self.hard))
        said = ", ".join(f"{what}: {KEY}={watts.quantity(value)}" for what, value in amounts)
        return f"exceeded quota: {self.name}, {said}"

    def after(self, wanted: int, pods: int) -> "Quota":
        """Return it once as many of some equal pods as fit are there."""
        fit = min(pods, (self.hard - self.used) // wanted) if wanted else 0
        return replace(self, used=self.used + max(0, fit) * wanted)


def quota_of(body: Mapping[str, Any], namespace: str) -> Quota | None:
    """Return the quota of watts that a ResourceQuota is.

    None if it counts no watts, or only those of pods that its scopes choose.
    """
    spec, status = body.get("spec") or {}, body.get("status") or {}
    hard = watts.amount((spec.get("hard") or {}).get(KEY))
    if hard is None or spec.get("scopes") or spec.get("scopeSelector"):
        return None
    used = watts.amount((status.get("used") or {}).get(KEY))
    return Quota(namespace, str(body["metadata"]["name"]), hard, used or 0)
