"""CustomResourceDefinitions of the workload kinds of others, out of their own Go modules.

Only files are taken: nothing of these modules is compiled. Go checks each module against its public
checksum database, so that a version names one content.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from localcluster.build import ATTEMPTS
from localcluster.errors import BuildError
from localcluster.toolchain import find_go, go_environment, install

_GO_LEAST = (1, 26)
_CRDS = {
    "sigs.k8s.io/jobset@v0.11.1": ("config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml",),
    "sigs.k8s.io/lws@v0.8.0": ("config/crd/bases/leaderworkerset.x-k8s.io_leaderworkersets.yaml",),
    "github.com/ray-project/kuberay/ray-operator@v1.6.0": (
        "config/crd/bases/ray.io_rayclusters.yaml",
        "config/crd/bases/ray.io_rayjobs.yaml",
        "config/crd/bases/ray.io_rayservices.yaml",
    ),
    "github.com/kubeflow/trainer/v2@v2.2.0": (
        "manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml",
    ),
    "github.com/kubeflow/training-operator@v1.9.3": (
        "manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
    ),
}
"""Module and version -> files in it; the versions are those that Kueue 0.17 is built with."""


def workload_crds() -> tuple[Path, ...]:
    """Return the files, downloaded now if the module cache lacks them.

    Raises:
        BuildError: A module cannot be had.
    """
    go = find_go(_GO_LEAST)
    install(go, lambda _: None)
    found: list[Path] = []
    for module, files in _CRDS.items():
        folder = _folder(str(go.program), module)
        found += [folder / name for name in files]
    return tuple(found)


def _folder(go: str, module: str) -> Path:
    """Return where a module lies; a proxy that times out once answers the next time."""
    said = ""
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [go, "mod", "download", "-json", module],
            cwd=tempfile.gettempdir(),
            env=go_environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return Path(json.loads(done.stdout)["Dir"])
        said = done.stderr or done.stdout
    raise BuildError(f"go mod download {module} failed: {said.strip()[-500:]}; check GOPROXY")
