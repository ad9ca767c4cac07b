"""The central catalog: an OpenStack Images API v2 service over SQL."""
