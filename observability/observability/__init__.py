"""Dashboards as code, their pictures, and the reference pages of metrics and alerts.

A tool of this repository, not of the wheel.
"""
