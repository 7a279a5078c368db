"""Coefficients of a user's own GPU from a few measurements: `energaizer calibrate`."""
