"""Glance's `rbd` store."""
