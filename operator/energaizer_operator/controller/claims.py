"""A ResourceClaimTemplate for each AIWorkload whose placement is by claims of devices."""

from __future__ import annotations

from dataclasses import replace

from energaizer_operator import claims
from energaizer_operator.cluster import Cluster, Refused
from energaizer_operator.decision import Decision
from energaizer_operator.informer import ObjectRecord
from energaizer_operator.kinds import RESOURCE_CLAIM_TEMPLATES
from energaizer_operator.names import (
    API_VERSION,
    LABEL_APP_MANAGED_BY,
    PART_OF,
    Kind,
    Reason,
)
from energaizer_operator.placement import Plan


class Claims:
    """Writes the templates, and says in the plan what became of each."""

    def __init__(self, cluster: Cluster) -> None:
        """Remember nothing: an apply that changes nothing is cheap, and renews what was deleted."""
        self._cluster = cluster

    async def offer(self, record: ObjectRecord, decided: Decision) -> Plan:
        """Write the template of one AIWorkload and return its plan.

        Raises:
            ClusterError: The API server failed.
        """
        plan, world = decided.plan, decided.case.world
        name = claims.name_of(record.name)
        gpus = decided.case.resolution.inputs.gpus_per_replica
        body = claims.template(name, record.namespace, plan.order, world.profiles, gpus)
        if body is None:
            return replace(plan, message="no GPU that is possible can be claimed by a product name")
        offered = [one for one in plan.order if claims.claimable(world.profiles[one])]
        shown = ", ".join(offered[: claims.MOST])
        body["metadata"] |= {
            "labels": {LABEL_APP_MANAGED_BY: PART_OF},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": str(Kind.AI_WORKLOAD),
                    "name": record.name,
                    "uid": record.uid,
                }
            ],
        }
        try:
            await self._cluster.apply(RESOURCE_CLAIM_TEMPLATES, body)
        except Refused as error:  # a template cannot be changed once it is there
            why = f"should offer {shown}, but was not written; delete it to renew it: {error}"
            return replace(plan, message=f"ResourceClaimTemplate {name} {why}"[:1024])
        return replace(
            plan,
            reason=Reason.NARROWED,
            message=f"ResourceClaimTemplate {name} offers {shown}, in this order: name it in "
            "resourceClaims of the pods",
            claim=name,
        )
