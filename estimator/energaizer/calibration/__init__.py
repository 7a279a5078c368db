"""Offline: measured tables in, profiles and accuracy tables out. Nothing here runs in an estimate."""
