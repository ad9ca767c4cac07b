"""The real RabbitMQ, Debian's, with everything of its own in one directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu

from harness.databases import as_user, home_of
from harness.program import Program, free_port
from harness.services import unavailable
from harness.waiting import until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER = "rabbitmq"
START_SECONDS = 120.0


class RabbitMQ:
    """A broker that may be stopped and started."""

    def __init__(self, directory: Path, names: int) -> None:
        """`names` is the port of Erlang's daemon."""
        self._directory = directory
        self._names = names
        self.port = free_port()
        self._between = free_port()
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """Return its transport URL."""
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        home = str(self._directory)
        environment = {
            "HOME": home,
            "RUNNING_UNDER_SYSTEMD": "1",  # there is no shell in front of it that waits
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._between),
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": f"{home}/none",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/config",
            "RABBITMQ_PID_FILE": f"{home}/pid",
        }
        self._program = Program(
            f"rabbitmq-{self.port}",
            [*as_user(USER), SERVER],
            directory=self._directory,
            environment=environment,
        )
        self._program.wait_for_port(self.port, START_SECONDS)
        until("RabbitMQ to take connections", self._takes_connections, START_SECONDS)

    def stop(self) -> None:
        """Stop it, if it runs; it forgets what is in its queues."""
        if self._program is not None:
            self._program.stop(codes=(0, -15, 143))
            self._program = None

    def take(self, topic: str, priority: str) -> list[dict[str, Any]]:
        """Take what oslo.messaging's version 2.0 has put into the queue of a topic."""
        found = []
        with self._connection() as connection:
            queue = kombu.Queue(f"{topic}.{priority}", durable=False)(connection.default_channel)
            queue.queue_declare()
            while message := queue.get(no_ack=True):
                found.append(json.loads(message.payload["oslo.message"]))
        return found

    def _takes_connections(self) -> bool:
        try:
            with self._connection() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except OSError:
            return False
        return True

    def _connection(self) -> kombu.Connection:
        return kombu.Connection(f"amqp://guest:guest@127.0.0.1:{self.port}//")


@contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Run a broker, and beside it the daemon that Erlang's nodes are found by."""
    if not SERVER.exists():
        unavailable("rabbitmq-server is not installed: make services")
    with home_of(USER) as home:
        port = free_port()
        broker = RabbitMQ(home, port)
        daemon = [*as_user(USER), "epmd", "-port", str(port), "-address", "127.0.0.1"]
        names = Program(f"epmd-{port}", daemon, directory=home)
        try:
            names.wait_for_port(port)
            broker.start()
            yield broker
        finally:
            broker.stop()
            names.stop(codes=(0, -15))
