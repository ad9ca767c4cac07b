"""Glance's `s3` store."""
