"""Glance's own options of the http store, as they stand in its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from yarl import URL

from backends.glance_values import truth
from backends.options import HttpOptions

_PROXIED = ("http", "https")


def http_options(values: Mapping[str, str]) -> HttpOptions:
    """Read `https_*` and `http_proxy_information` of a section of `glance-api.conf`.

    As in Glance, certificates are verified only where `https_ca_certificates_file` is set, or
    `https_insecure` is turned off.  ValueError for what Glance refuses, and for proxies that do
    not speak HTTP; other options are left.
    """
    ca_file = values.get("https_ca_certificates_file", "").strip()
    insecure = truth({"https_insecure": "true", **values}, "https_insecure")
    return HttpOptions(
        ca_file=Path(ca_file) if ca_file else None,
        verify_certificates=bool(ca_file) or not insecure,
        proxies=_proxies(values.get("http_proxy_information", "")),
    )


def _proxies(text: str) -> dict[str, str]:
    """Read `scheme:proxy` pairs; errors show none, for they may hold a password."""
    proxies: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        scheme, _, proxy = (part.strip() for part in pair.partition(":"))
        if scheme not in _PROXIED or not proxy:
            raise ValueError(
                "http_proxy_information is not scheme:proxy pairs: http:10.0.0.1:3128, for example"
            )
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
        if url.scheme != "http" or not url.host:
            raise ValueError(f"http_proxy_information: the proxy for {scheme} is no http proxy")
        proxies[scheme] = str(url)
    return proxies
