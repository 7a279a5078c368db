"""What can go wrong here: every message says what failed, where, and what to do next."""

from __future__ import annotations

import sys


class LocalClusterError(Exception):
    """Building, starting or stopping the local control plane failed."""


class BuildError(LocalClusterError):
    """The programs could not be built."""


class PortTakenError(LocalClusterError):
    """Another process took a port between choosing and binding it; choosing again helps."""


def require_linux(platform: str = sys.platform) -> None:
    """Raise where the control plane cannot run.

    Args:
        platform: The name of the system, as `sys.platform` gives it.
    """
    if platform != "linux":
        raise LocalClusterError(
            f"localcluster: {platform} answers on 127.0.0.1 alone, and Services here live on "
            "addresses like 127.64.0.10, which only Linux has without set-up; use a Linux "
            "machine or container, or point KUBECONFIG at a cluster of your own"
        )
