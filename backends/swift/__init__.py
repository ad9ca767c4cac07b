"""Glance's `swift` store."""
