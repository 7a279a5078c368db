"""Offline: measured tables in, profiles and accuracy tables out; no estimate runs any of it."""
