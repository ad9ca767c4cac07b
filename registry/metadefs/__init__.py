"""Metadata definitions that operators load, export and unload."""
