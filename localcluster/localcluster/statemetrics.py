"""Stands in for kube-state-metrics at the wire: the one series of its page that we read.

Names, labels and units are those of its `kube_resourcequota`; values come from the API server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from kubernetes.utils.quantity import parse_quantity

from localcluster.api import Api
from localcluster.exporter import serve

_QUOTAS = "/api/v1/resourcequotas"


def page(quotas: Iterable[Mapping[str, Any]]) -> str:
    """Return the text that Prometheus reads."""
    lines = [
        "# HELP kube_resourcequota [STABLE] Information about resource quota.",
        "# TYPE kube_resourcequota gauge",
    ]
    for quota in quotas:
        metadata, status = quota["metadata"], quota.get("status", {})
        name = f'namespace="{metadata["namespace"]}",resourcequota="{metadata["name"]}"'
        for kind in ("hard", "used"):
            for resource, amount in (status.get(kind) or {}).items():
                labels = f'{name},resource="{resource}",type="{kind}"'
                lines.append(f"kube_resourcequota{{{labels}}} {_plain(amount)}")
    return "\n".join(lines) + "\n"


def _plain(quantity: str) -> float:
    return float(parse_quantity(quantity))  # type: ignore[no-untyped-call]


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path))
@click.option("--port", required=True, type=int)
def main(kubeconfig: Path, port: int) -> None:
    """Serve the quotas of a cluster until killed."""
    api = Api.of(kubeconfig)
    serve(lambda: page(json.loads(api.text(_QUOTAS) or '{"items": []}')["items"]), port)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
