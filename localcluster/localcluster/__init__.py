"""A real Kubernetes control plane on this machine, for the demo and the tests."""

from localcluster.build import Built, build
from localcluster.cluster import Cluster
from localcluster.errors import BuildError, LocalClusterError
from localcluster.pools import NodePool, load_pools

__all__ = ["BuildError", "Built", "Cluster", "LocalClusterError", "NodePool", "build", "load_pools"]
