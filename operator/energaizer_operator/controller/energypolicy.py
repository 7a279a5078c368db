"""EnergyPolicy: its status says for how many namespaces it is in force."""

from __future__ import annotations

from datetime import UTC, datetime

from energaizer_operator import status
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.writing import write_status
from energaizer_operator.informer import Key
from energaizer_operator.kinds import ENERGYPOLICIES
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.selectors import selects


class EnergyPolicies:
    """Writes the status of one EnergyPolicy."""

    def __init__(self, context: Context) -> None:
        """Share what reconcilers share."""
        self._context = context

    async def reconcile(self, key: Key) -> Result:
        """Bring the status in line with the namespaces."""
        record = self._context.informer.energypolicies.get(key[1])
        if record is None:
            return Result.GONE
        rule = EnergyPolicy.of_server(record.body)
        matched = sum(
            selects(rule.spec.namespace_selector, namespace.labels)
            for namespace in self._context.informer.namespaces
        )
        wanted = status.policy_status(rule, matched, datetime.now(UTC))
        return await write_status(self._context.cluster, ENERGYPOLICIES, record, wanted)
