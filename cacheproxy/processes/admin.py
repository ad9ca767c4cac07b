"""The admin socket's server, in the keeper: one request a connection, as admin/wire.py says.

A client is never waited for without a bound: it has so long to ask and so long to take an answer,
progress is left out while it does not read, and its leaving ends what it asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from pathlib import Path

import msgspec

from cacheproxy.admin import requests, wire
from cacheproxy.admin.results import ErrorCode, ListResult, Told
from cacheproxy.errors import ProxyError, StorageError
from cacheproxy.inspection import OperationError
from cacheproxy.operations import Operations
from cacheproxy.processes.admin_socket import AdminSocket, AdminSocketError
from cacheproxy.watch import Watch

CLIENTS_MAX = 16  # at once; more are told to come back
REQUEST_SECONDS = 10.0  # a client's time to ask
ANSWER_SECONDS = 30.0  # a client's time to take a line
PROGRESS_SECONDS = 0.25  # between two looks
LOOK_SECONDS = 30.0  # between two looks at the socket's file
SUBJECT_SHOWN_MAX = 400  # characters of a request in the log

_CREDENTIALS = struct.Struct("iII")

log = logging.getLogger(__name__)


class AdminServer:
    """Listens while it is started; made on the keeper's loop."""

    def __init__(self, path: Path, operations: Operations) -> None:
        self.listening = asyncio.Event()
        self._path = path
        self._operations = operations
        self._socket: AdminSocket | None = None
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._complained = ""

    def __repr__(self) -> str:
        state = "listening" if self._server is not None else "not listening"
        return f"<AdminServer {self._path} {state}, {len(self._clients)} clients>"

    def start(self) -> None:
        """Begin to listen, as soon as that can be done: the cache does without, if it must."""
        self._keeping = asyncio.create_task(self._keep(), name="admin socket")

    async def close(self) -> None:
        """End everything that clients asked for, and remove the socket."""
        tasks = [*self._clients, *([self._keeping] if self._keeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_listening()

    # --- the socket -------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Listen, and again when the socket's file was lost or could not be made."""
        while True:
            if self._socket is None or not await asyncio.to_thread(self._socket.there):
                await self._stop_listening()
                await self._listen()
            await asyncio.sleep(LOOK_SECONDS)

    async def _listen(self) -> None:
        making = asyncio.ensure_future(asyncio.to_thread(AdminSocket.listen, self._path))
        try:
            self._socket = await asyncio.shield(making)
        except AdminSocketError as error:
            if str(error) != self._complained:
                log.error("no admin commands: %s", error)  # noqa: TRY400 -- it says what to do
            self._complained = str(error)
            return
        except asyncio.CancelledError:
            with contextlib.suppress(AdminSocketError):
                self._socket = await making
            raise
        self._complained = ""
        self._server = await asyncio.start_unix_server(
            self._connected, sock=self._socket.sock, limit=wire.REQUEST_BYTES_MAX
        )
        self.listening.set()

    async def _stop_listening(self) -> None:
        self.listening.clear()
        server, self._server = self._server, None
        listening, self._socket = self._socket, None
        if server is not None:
            server.close()
        if listening is not None:
            listening.sock.close()
            await asyncio.to_thread(listening.remove)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer, self._operations)
        task = asyncio.create_task(self._serve(client), name="admin client")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, client: Client) -> None:
        try:
            if len(self._clients) > CLIENTS_MAX:
                await client.refuse("busy", f"{CLIENTS_MAX} commands are running; try again")
            else:
                await client.serve()
        except (ConnectionError, TimeoutError) as error:
            log.info("an admin client is cut off: %s", type(error).__name__)
            client.abort()
        except asyncio.CancelledError:
            client.abort()  # the keeper's end waits for nobody
            raise
        finally:
            await client.close()


class Client:
    """One connection and its one request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, operations: Operations
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._operations = operations
        self._watch = Watch()
        self._told = b""  # the progress told last
        self._told_at = 0.0  # when anything was told last

    async def serve(self) -> None:
        """Read the request, and answer it."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await self._reader.readuntil(b"\n")
            request = wire.decode_request(line)
        except asyncio.IncompleteReadError:
            return  # it left
        except asyncio.LimitOverrunError:
            await self.refuse("protocol", f"a request of more than {wire.REQUEST_BYTES_MAX} bytes")
            return
        except wire.WireError as error:
            await self.refuse("protocol", str(error))
            return
        if isinstance(request, requests.CHANGING):
            pid, uid, _ = self._peer()
            subject = request.subject[:SUBJECT_SHOWN_MAX]
            command = type(request).__name__.lower()
            log.info("admin: %s %s, asked by user %d (process %d)", command, subject, uid, pid)
        await self._work(request)

    async def refuse(self, code: ErrorCode, message: str) -> None:
        """Say that it will not be."""
        await self._say(wire.Error(code=code, message=message))

    async def close(self) -> None:
        """Give it a bounded time to take what was said."""
        self._writer.close()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Drop what it has not taken."""
        self._writer.transport.abort()

    def _peer(self) -> tuple[int, int, int]:
        """Return process, user and group at the other end."""
        with socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno())) as sock:
            packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(packed)
        return pid, uid, gid

    # --- work -------------------------------------------------------------------------------------

    async def _work(self, request: requests.AnyRequest) -> None:
        """Do what is asked, for as long as somebody wants to know."""
        work = asyncio.create_task(self._answer(request), name=f"admin {type(request).__name__}")
        gone = asyncio.create_task(self._reader.read(1), name="admin client's end")
        self._told_at = time.monotonic()
        try:
            while not work.done():
                await asyncio.wait(
                    [work, gone], timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if work.done():
                    break
                if gone.done():
                    log.info("admin: the client left, its %s ends", type(request).__name__.lower())
                    return
                self._show_progress()
            await self._say(work.result())
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, request: requests.AnyRequest) -> wire.Result | wire.Error:
        try:
            result = await self._run(request)
        except OperationError as error:
            return wire.Error(code=error.code, message=str(error))
        except StorageError as error:
            return wire.Error(code="storage", message=str(error))
        except (ConnectionError, TimeoutError):
            raise  # the client's
        except ProxyError as error:
            return wire.Error(code="failed", message=str(error))
        except Exception:
            log.exception("admin: %s broke", type(request).__name__.lower())
            return wire.Error(code="failed", message="it broke; the daemon's log tells more")
        return wire.Result(result=msgspec.Raw(msgspec.json.encode(result)))

    async def _run(self, request: requests.AnyRequest) -> Told:  # noqa: PLR0911  one a command
        operations, inspection = self._operations, self._operations.inspection
        match request:
            case requests.Status():
                return inspection.status()
            case requests.List():
                return await self._list()
            case requests.Show():
                return await inspection.show(request.image)
            case requests.Pin():
                return await operations.pin(request.image)
            case requests.Unpin():
                return await operations.unpin(request.image)
            case requests.Evict():
                return await operations.evict(request.images, content=request.content)
            case requests.Prefetch() if request.wait:
                return await operations.prefetch(request.images, request.token, self._watch)
            case requests.Prefetch():
                return operations.prefetch_later(request.images, request.token)
            case requests.Verify():
                return await operations.verify(request.images, self._watch)
            case requests.Purge():
                return operations.purge(request.image)
            case requests.Gc():
                return await operations.gc()

    async def _list(self) -> ListResult:
        count = 0
        async with contextlib.aclosing(self._operations.inspection.rows()) as slices:
            async for rows in slices:
                count += len(rows)
                await self._say(wire.Rows(rows=rows))
        return ListResult(images=count)

    # --- what is said -----------------------------------------------------------------------------

    async def _say(self, event: wire.AnyEvent) -> None:
        """Say something that must not be lost; TimeoutError if the client does not read."""
        self._write(wire.encode(event))
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._writer.drain()

    def _show_progress(self) -> None:
        """Tell how far it is, if that is news and the client has read the last of it."""
        transport = self._writer.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            return
        if self._watch.look is not None:
            line = wire.encode(wire.Progressed(progress=self._watch.look()))
            if line != self._told:
                self._told = line
                self._write(line)
        if time.monotonic() - self._told_at >= wire.ALIVE_SECONDS:
            self._write(wire.encode(wire.Alive()))

    def _write(self, line: bytes) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionResetError
        self._told_at = time.monotonic()
        self._writer.write(line)
