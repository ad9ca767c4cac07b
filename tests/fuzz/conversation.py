"""A conversation: what comes in on some connections, one after the other, in pieces.

With it comes what happens to the worker in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Event(Enum):
    """What happens to a worker between two pieces."""

    TIME = "what was allowed is not believed any more"
    PURGE = "somebody has changed an image"
    EXPEL = "the keeper wants a chunk file back"
    ALTER = "a chunk file is not what was proven"
    CLEAR = "the keeper wants them all back"
    COLD = "a chunk has left memory"


class Pace(Enum):
    """How a piece comes."""

    HASTY = "before the answer to what came before"


# Plain: aiohttp has all of the connection.  The others are the proxy's own: guarded as with TLS,
# where all bytes go through the transport; slow without a fast lane.
Kind = Literal["fast", "guarded", "slow", "plain"]
Line = bytes  # a header field without its end
Part = bytes | Event | Pace


@dataclass(frozen=True, slots=True)
class Conversation:
    """What comes in: the fields that the caller is known by, and the parts of each connection."""

    caller: tuple[Line, ...]
    connections: tuple[tuple[Part, ...], ...]
    requests: int = 0  # how many went into them
    kind: Kind = "fast"
