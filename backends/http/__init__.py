"""Glance's `http` store."""
