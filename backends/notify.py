"""What a daemon tells the service manager that started it, in the protocol of sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping

VARIABLE = "NOTIFY_SOCKET"


class Notify:
    """The manager's socket; says nothing where no manager asked to be told.

    Every message is one datagram that is sent at once or not at all: a manager that stands still
    must not take us along.
    """

    def __init__(self, address: str) -> None:
        """Send to this address: a path, a name behind `@` (not in any directory), or to nobody."""
        self.address = address

    def __repr__(self) -> str:
        return f"<tells {self.address or 'nobody'}>"

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notify:
        """Take the address out of the environment, so that no child finds it."""
        address = environ.pop(VARIABLE, "")
        return cls(address if address[:1] in ("/", "@") else "")  # others are not for processes

    def send(self, *assignments: str) -> bool:
        """Send lines like `READY=1` together; whether there is nothing left to be said."""
        if not self.address:
            return True
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            where = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
            sock.sendto("\n".join(assignments).encode(), where)
            return True
        return False
