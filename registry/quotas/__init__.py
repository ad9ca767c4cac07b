"""Quotas of projects: the operator's for all alike, or Keystone's unified limits."""
