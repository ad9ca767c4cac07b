from __future__ import annotations

from pathlib import Path

import pytest

from backends.http.options import http_options
from backends.options import HttpOptions


def test_defaults() -> None:
    """Glance's: certificates are not verified."""
    assert http_options({}) == HttpOptions(verify_certificates=False)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({"https_insecure": "false"}, HttpOptions()),
        (
            {"https_ca_certificates_file": "/ca.pem", "https_insecure": "true"},
            HttpOptions(ca_file=Path("/ca.pem")),
        ),
        (
            {
                "https_insecure": "false",
                "http_proxy_information": "http:10.0.0.1:3128, https:http://u:p@proxy:1080",
            },
            HttpOptions(proxies={"http": "http://10.0.0.1:3128", "https": "http://u:p@proxy:1080"}),
        ),
        ({"https_insecure": "off", "http_proxy_information": " , "}, HttpOptions()),
    ],
)
def test_values(values: dict[str, str], options: HttpOptions) -> None:
    assert http_options(values) == options


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"https_insecure": "perhaps"}, "https_insecure"),
        ({"http_proxy_information": "user:secret@proxy"}, "scheme:proxy pairs"),
        ({"http_proxy_information": "http:"}, "scheme:proxy pairs"),
        ({"http_proxy_information": "https:socks5://u:secret@proxy"}, "no http proxy"),
        ({"http_proxy_information": "https:https://u:secret@proxy"}, "no http proxy"),
        ({"http_proxy_information": "https:http://"}, "no http proxy"),
    ],
)
def test_what_makes_no_sense(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        http_options(values)
    assert "secret" not in str(caught.value)
