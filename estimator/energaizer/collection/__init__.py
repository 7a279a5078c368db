"""Measurements of workloads and kernels on a GPU at hand: `energaizer collect`."""
