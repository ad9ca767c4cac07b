from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import InvalidError
from backends.location import NAME_BYTES_MAX, Location, checked_name

# Distinct from everything else in the URIs below.
SECRETS = st.text(st.sampled_from("SÉ0:/?#@%&=+ []"), min_size=1).map(lambda text: f"Q{text}Q")


def shown(location: Location) -> str:
    error = InvalidError(f"{location}: {location!r}")
    return "".join(traceback.format_exception(error)) + str([location])


class TestBare:
    @pytest.mark.parametrize(
        ("uri", "bare"),
        [
            ("rbd://fsid/pool/image/snap", "rbd://fsid/pool/image/snap"),
            ("file:///a@b/c", "file:///a@b/c"),
            ("cinder://volume", "cinder://volume"),
            ("http://user:pass@host:80/p@th?q=1", "http://host:80/p@th?***"),
            ("https://host/image?X-Amz-Signature=1#part", "https://host/image?***"),
            ("https://host/image?***", "https://host/image?***"),
            ("https://host/image#part", "https://host/image#part"),
            ("https://host/image#part?q=1", "https://host/image?***"),
            ("http://user:p?ss@host/path", "http://host/path"),
            ("http://host/a@b", "http://host/a@b"),
            (
                "swift+https://p%3Au:key@auth:5000/v3/ima@ges/1",
                "swift+https://auth:5000/v3/ima@ges/1",
            ),
            ("swift+http://p%3Au:k/e/y@auth/images/1", "swift+http://auth/images/1"),
            ("swift+config://ref/images/1", "swift+config://ref/images/1"),
            ("s3+https://ACCESS:SEC/RET@host/bucket/key", "s3+https://host/bucket/key"),
            ("nonsense", "nonsense"),
        ],
    )
    def test_examples(self, uri: str, bare: str) -> None:
        assert Location(uri).bare == Location(bare)
        assert Location(bare).bare == Location(bare)

    @given(SECRETS, st.sampled_from(["http", "https", "swift+http", "swift", "s3", "S3+https"]))
    def test_a_secret_is_cut_out(self, secret: str, scheme: str) -> None:
        location = Location(f"{scheme}://user:{quote(secret, safe='')}@host/container/image")
        assert location.bare.uri == f"{scheme}://host/container/image"

    @given(SECRETS)
    def test_glances_unquoted_s3_secret_is_cut_out(self, secret: str) -> None:
        location = Location(f"s3://ACCESS:{secret}@host/bucket/key")
        assert location.bare.uri == "s3://host/bucket/key"


class TestRedaction:
    @pytest.mark.parametrize(
        ("uri", "redacted"),
        [
            ("file:///var/lib/glance/images/1", "file:///var/lib/glance/images/1"),
            ("file:///a@b/c?d", "file:///a@b/c?***"),
            ("http://host:80/path", "http://host:80/path"),
            ("http://host/a@b", "http://host/a@b"),
            ("http://user:pass@host:80/path", "http://***@host:80/path"),
            ("http://user@host/path", "http://***@host/path"),
            ("https://host/path?X-Amz-Signature=abc#d", "https://host/path?***"),
            ("http://[::1]:80/path?a@b", "http://[::1]:80/path?***"),
            ("http://[bad/path", "http://[bad/path"),
            (
                "swift+https://p%3Au:key@auth:5000/v3/images/1",
                "swift+https://***@auth:5000/v3/images/1",
            ),
            ("s3+https://ACCESS:SEC/RET@host/bucket/key", "s3+https://***@host/bucket/key"),
            ("s3://ACCESS:SEC?R#ET@host/bucket/key", "s3://***@host/bucket/key"),
            ("rbd://fsid/pool/image/snap", "rbd://fsid/pool/image/snap"),
            ("password", "***"),
            ("", "***"),
        ],
    )
    def test_examples(self, uri: str, redacted: str) -> None:
        location = Location(uri)
        assert location.redacted == redacted
        assert str(location) == redacted
        assert repr(location) == f"Location({redacted!r})"

    @given(SECRETS, st.sampled_from(["http", "https", "HTTP", "swift+https", "s3", "vsphere"]))
    def test_a_quoted_secret_is_never_shown(self, secret: str, scheme: str) -> None:
        quoted = quote(secret, safe="")
        location = Location(f"{scheme}://user:{quoted}@host/path")
        assert quoted not in shown(location)
        assert str(location) == f"{scheme}://***@host/path"

    @given(SECRETS)
    def test_glances_unquoted_s3_secret_is_never_shown(self, secret: str) -> None:
        for scheme in ("s3", "s3+http", "s3+https"):
            location = Location(f"{scheme}://ACCESS:{secret}@host/bucket/key")
            assert str(location) == f"{scheme}://***@host/bucket/key"

    @given(SECRETS)
    def test_a_signature_is_never_shown(self, secret: str) -> None:
        assert str(Location(f"http://host/path?{secret}")) == "http://host/path?***"

    @given(st.text(max_size=40), st.sampled_from(["", "http:", "http://", "s3://", "file:///"]))
    def test_any_text_can_be_shown(self, text: str, begin: str) -> None:
        assert "Location(" in shown(Location(begin + text))

    def test_equal_by_uri(self) -> None:
        assert Location("http://a:b@host/") == Location("http://a:b@host/")
        assert Location("http://a:b@host/") != Location("http://a:c@host/")
        assert Location("HTTP://host/").scheme == "http"


class TestNames:
    @given(st.uuids().map(str) | st.text("abcÜ %?#", min_size=1, max_size=60))
    def test_kept(self, name: str) -> None:
        assert checked_name(name) == name

    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", ".x", "/", "a/b", "a\0", "a\n", "a\x7f", "a\u2028", "\udcff", "ü" * 128],
    )
    def test_refused(self, name: str) -> None:
        with pytest.raises(InvalidError) as error:
            checked_name(name)
        assert len(str(error.value)) < 2 * NAME_BYTES_MAX
