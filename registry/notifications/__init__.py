"""Notifications: what happens to images is told to others, by oslo.messaging."""
