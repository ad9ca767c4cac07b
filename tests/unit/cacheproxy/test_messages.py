"""Messages between worker and keeper: what may be seen of them in a log."""

from __future__ import annotations

import pytest

from cacheproxy.cacheorders import CachedImage, Done, QueueImage, Refused, Rows
from cacheproxy.core.facts import ImageFacts
from cacheproxy.processes.messages import (
    Adopt,
    FromWorker,
    Manage,
    Managed,
    Open,
    decode_from_keeper,
    decode_from_worker,
    encode,
)

FACTS = ImageFacts(image_id="i", size=1, checksum=None, hash_algo=None, hash_value=None)
HEADERS = [("X-Auth-Token", "secret")]


@pytest.mark.parametrize("message", [Open(1, FACTS, 0, 1, HEADERS), Adopt(1, FACTS, HEADERS)])
def test_credentials_travel_and_are_never_shown(message: FromWorker) -> None:
    assert decode_from_worker(encode(message)) == message
    assert "secret" not in f"{message} {message!r}"


def test_orders_travel_and_their_tokens_are_never_shown() -> None:
    message = Manage(1, QueueImage("i", "secret"))
    assert decode_from_worker(encode(message)) == message
    assert "secret" not in f"{message} {message!r}"
    rows = Managed(1, Rows([CachedImage("i", 5, 4, 3, 2)], ["j"]))
    for reply in (rows, Managed(2, Refused("it is pinned")), Managed(3, Done())):
        assert decode_from_keeper(encode(reply)) == reply
