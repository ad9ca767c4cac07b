"""What the command line may ask for in one request."""

from __future__ import annotations

import uuid

from cacheproxy.admin import wire
from cacheproxy.admin.requests import Evict

XARGS_BYTES = 128 << 10  # what xargs puts on one command line, unless told otherwise


def test_a_command_line_of_xargs_is_one_request() -> None:
    images = [str(uuid.UUID(int=number)) for number in range(XARGS_BYTES // 37)]
    line = wire.encode(wire.Envelope(wire.VERSION, Evict(images=images)))
    assert len(line) <= wire.REQUEST_BYTES_MAX
    assert wire.decode_request(line) == Evict(images=images)
