"""Steady serving of a model: what a person asks of `energaizer serve`."""
