"""Glance's `file` store."""
