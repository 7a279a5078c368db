"""Runs the real helm against an instance, with caches and repositories of its own."""

from __future__ import annotations

import os
import subprocess

from localcluster.build import build
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError


def helm(
    cluster: Cluster | None, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run helm and return what it printed.

    Args:
        cluster: Where; None for commands that need no cluster, such as `lint`.
        arguments: Its arguments.
        check: Whether a failure raises, with what helm said.
    """
    environment = dict(os.environ)
    if cluster is not None:
        home = str(cluster.directory / "helm")
        environment |= {
            "KUBECONFIG": str(cluster.kubeconfig),
            "HELM_CACHE_HOME": home,
            "HELM_CONFIG_HOME": home,
            "HELM_DATA_HOME": home,
        }
    done = subprocess.run(
        [str(build("helm").program("helm")), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        said = f"{done.stdout}{done.stderr}"
        raise LocalClusterError(
            f"helm {' '.join(arguments)} ended with code {done.returncode}:\n{said}"
        )
    return done
