"""The node-local image proxy: a Glance endpoint that answers downloads from a verified cache."""
