"""Glance's own options of the http store, as they stand in its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backends.glance_values import truth
from backends.options import HttpOptions


def http_options(values: Mapping[str, str]) -> HttpOptions:
    """Read `https_*` of a section of `glance-api.conf`; other options are left.

    As in Glance, certificates are verified only where `https_ca_certificates_file` is set, or
    `https_insecure` is turned off.  ValueError for what Glance refuses.
    """
    ca_file = values.get("https_ca_certificates_file", "").strip()
    insecure = truth({"https_insecure": "true", **values}, "https_insecure")
    return HttpOptions(
        ca_file=Path(ca_file) if ca_file else None,
        verify_certificates=bool(ca_file) or not insecure,
    )
