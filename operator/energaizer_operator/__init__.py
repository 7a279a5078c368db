"""The Kubernetes operator around energaizer: decisions, never a watt of its own."""
