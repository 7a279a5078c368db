"""Measured energy beside the prediction: what GPU exporters say, joined to workloads.

`prometheus` asks, `accounts` adds up. Predicted and measured energy never share a field or series.
"""
