"""From a workload to its kernels; one room for each family of models."""
