"""A program for tests: the real supervisor over stand-in children.

    python standin_node.py '{"workers": 3, …}'

The stand-in worker speaks lines with its clients; the answer to each is one line.  `behaviour` makes
children misbehave: see `Behaviour`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from cacheproxy import logs
from cacheproxy.config import CacheSettings, MetricsSettings, Settings, UpstreamSettings
from cacheproxy.errors import ConfigError
from cacheproxy.meter import Meter
from cacheproxy.metrics import CONNECTIONS
from cacheproxy.processes import inherited, listeners, supervisor
from cacheproxy.processes.channel import Channel
from cacheproxy.processes.control import Control
from cacheproxy.processes.entries import Entries
from cacheproxy.processes.past import Past
from cacheproxy.processes.servicemanager import ServiceManager
from harness.waiting import until


@dataclass(frozen=True)
class Behaviour:
    """What the children do besides."""

    crash_while: str = ""  # worker 0 exits at once while this file is there
    ready_after: str = ""  # the keeper is ready once this file is there
    bad_config_while: str = ""  # the keeper finds the configuration wrong while this file is there
    raises: bool = False  # worker 0 raises an exception
    worker_refuses: bool = False  # worker 0 finds the configuration wrong
    lifeless_seconds: float = 60.0  # see LIFELESS_SECONDS


class Worker:
    def __init__(self, number: int, control: socket.socket, meter: Meter) -> None:
        self.number = number
        self.meter = meter
        self.link: Channel | None = None
        self.links = 0
        self.purged: list[str | None] = []
        self.answers: asyncio.Queue[str] = asyncio.Queue()
        self.clients: set[asyncio.Task[None]] = set()
        self.stop = asyncio.Event()
        self.control = Control(
            control,
            on_connection=self.connected,
            on_link=self.linked,
            on_drain=self.stop.set,
            on_purged=self.purged.append,
            on_lost=self.stop.set,
        )

    async def run(self) -> int:
        self.control.start()
        self.control.ready()
        await self.stop.wait()
        while self.clients:  # drain
            await asyncio.wait(self.clients)
        if self.link is not None:
            self.link.close()
        self.control.close()
        return 0

    def linked(self, sock: socket.socket, _: object) -> None:
        if self.link is not None:
            self.link.close()
        self.links += 1
        link = Channel(sock, lambda data, _: self.answers.put_nowait(data.decode()), self.unlinked)
        self.link = link
        link.start()

    def unlinked(self) -> None:
        self.answers.put_nowait("gone")

    def connected(self, sock: socket.socket, kind: str) -> None:
        task = asyncio.create_task(self.serve(sock, kind))
        self.clients.add(task)
        task.add_done_callback(self.clients.discard)

    async def serve(self, sock: socket.socket, kind: str) -> None:
        self.meter.add(CONNECTIONS, 1)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            while line := await reader.readline():
                answer = await self.answer(line.decode().split(), kind)
                writer.write(f"{answer}\n".encode())
                await writer.drain()
        finally:
            writer.close()
            self.meter.add(CONNECTIONS, -1)
            self.control.connection_closed()

    async def answer(self, words: list[str], kind: str) -> str:  # noqa: PLR0911  (one a command)
        match words:
            case ["who"]:
                return f"{self.number} {os.getpid()} {kind}"
            case ["keeper"]:  # ask it for its process id
                while not self.answers.empty():
                    self.answers.get_nowait()
                if self.link is None or self.link.closed:
                    return "gone"
                self.link.send(b"who")
                return await self.answers.get()
            case ["drop-link"]:
                if self.link is not None:
                    self.link.close()
                self.control.link_lost()
                return "ok"
            case ["links"]:
                return str(self.links)
            case ["purge", image]:
                self.control.purge(image)
                return "ok"
            case ["purged"]:
                return " ".join(["purged", *map(str, self.purged)])
            case ["connections"]:
                return str(int(self.meter._board.total(CONNECTIONS)))
            case _:
                return "?"


async def run_keeper(control_socket: socket.socket, behaviour: Behaviour) -> int:
    stop = asyncio.Event()
    channels: list[Channel] = []

    def linked(sock: socket.socket, _: object) -> None:
        channel = Channel(
            sock,
            lambda _data, _fds: channel.send(str(os.getpid()).encode()),
            lambda: None,
        )
        channel.start()
        channels.append(channel)

    control = Control(control_socket, on_link=linked, on_drain=stop.set, on_lost=stop.set)
    control.start()
    if behaviour.ready_after:
        await asyncio.to_thread(until, "the flag", Path(behaviour.ready_after).exists)
    control.ready()
    await stop.wait()
    for channel in channels:
        channel.close()
    control.close()
    return 0


def main() -> int:
    options = json.loads(sys.argv[1])
    behaviour = Behaviour(**options.pop("behaviour", {}))
    settings = Settings(
        upstream=UpstreamSettings("http://glance.example:9292"),
        cache=CacheSettings(enabled=options.pop("cache", True), directory=Path("/nowhere")),
        metrics=MetricsSettings(port=0),
        port=0,
        **options,
    )

    def keeper(_settings: Settings, _past: Past, control: socket.socket, _meter: Meter) -> int:
        if behaviour.bad_config_while and Path(behaviour.bad_config_while).exists():
            raise ConfigError("[cache] image_cache_size: too small for this disk")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run_keeper(control, behaviour))

    def worker(_settings: Settings, number: int, control: socket.socket, meter: Meter) -> int:
        if number == 0 and behaviour.crash_while and Path(behaviour.crash_while).exists():
            return 7
        if number == 0 and behaviour.worker_refuses:
            raise ConfigError("[upstream] url: nothing that a worker could use")
        if number == 0 and behaviour.raises:
            raise RuntimeError("stand-in")

        async def run() -> int:
            return await Worker(number, control, meter).run()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run())

    supervisor.LIFELESS_SECONDS = behaviour.lifeless_seconds
    logs.to_stderr("cacheproxy")
    entries = Entries(keeper, worker, lambda settings: settings)
    bound = listeners.listen(settings, inherited.take(os.environ))
    return supervisor.Supervisor(
        settings, entries, bound, ServiceManager.from_environment(os.environ)
    ).run()


if __name__ == "__main__":
    sys.exit(main())
