"""Messages between worker and keeper: what may be seen of them in a log."""

from __future__ import annotations

import pytest

from cacheproxy.core.facts import ImageFacts
from cacheproxy.processes.messages import Adopt, FromWorker, Open, decode_from_worker, encode

FACTS = ImageFacts(image_id="i", size=1, checksum=None, hash_algo=None, hash_value=None)
HEADERS = [("X-Auth-Token", "secret")]


@pytest.mark.parametrize("message", [Open(1, FACTS, 0, 1, HEADERS), Adopt(1, FACTS, HEADERS)])
def test_credentials_travel_and_are_never_shown(message: FromWorker) -> None:
    assert decode_from_worker(encode(message)) == message
    assert "secret" not in f"{message} {message!r}"
