"""What stands between a worker and its broker, or in the broker's place: good and bad networks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536
_TURNS_TO_BEGIN = 4


class Server:
    """Listens on a loopback port, a free one if none is given; a subclass says what happens on a
    connection."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._accepted, "127.0.0.1", port, ssl=tls)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known before its task runs: one that is cancelled before its first step closes nothing.
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.talk(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side went away, or the test is over
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _finish(self) -> None:
        # A connection that was just accepted is closed by its task, once that has begun; a server
        # that is closed meanwhile would leave it open.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener)
        for _ in range(_TURNS_TO_BEGIN):
            await asyncio.sleep(0)
        self._server.close()
        # One whose TLS handshake ends meanwhile begins a task of its own.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)
        for writer in self._writers:
            writer.transport.abort()


class Proxy(Server):
    """Passes everything on to the port `target`, until it is told to behave badly."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut = False
        self._flow = asyncio.Event()
        self._flow.set()
        self._left: int | None = None
        super().__init__()

    def cut(self) -> None:
        """End all connections, and each new one at once."""
        self._loop.call_soon_threadsafe(self._cut_now)

    def cut_after(self, count: int) -> None:
        """Cut when `count` more bytes have passed, either way: in the middle of a packet."""
        self._loop.call_soon_threadsafe(setattr, self, "_left", count)

    def hold(self) -> None:
        """Let nothing pass any more, though all stays open: a network that went dark."""
        self._loop.call_soon_threadsafe(self._flow.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._resume_now)

    def _cut_now(self) -> None:
        self._cut, self._left = True, None
        for writer in list(self._writers):
            writer.transport.abort()

    def _resume_now(self) -> None:
        self._cut, self._left = False, None
        self._flow.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await _first_to_end(
                self._pass_on(reader, far_writer), self._pass_on(far_reader, writer)
            )
        finally:
            far_writer.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_READ_BYTES):
            await self._flow.wait()
            sink.write(data[: self._left])
            await sink.drain()
            if self._left is not None:
                self._left -= len(data)
                if self._left <= 0:
                    self._cut_now()


class Impostor(Server):
    """Is no broker: says to everybody what `greeting` gives, then listens or hangs up."""

    def __init__(self, greeting: Callable[[], bytes], hangs_up: bool = False) -> None:
        self._greeting = greeting
        self._hangs_up = hangs_up
        super().__init__()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting())
        while not self._hangs_up and await reader.read(_READ_BYTES):
            pass


class WebSocketGateway(Server):
    """MQTT over WebSockets (RFC 6455) at the path /mqtt, for a broker that speaks only TCP.

    Its answer is a valid one of the less usual kind: with a proxy's header, and one blank fewer.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        super().__init__(tls)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)\r\nSec-WebSocket-Key: *(\S+)", request)
        if key is None or not request.startswith(b"GET /mqtt HTTP/1.1\r\n"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        proof = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"X-Connection-Id: abc\r\nSec-WebSocket-Protocol: mqtt\r\n"
            b"Sec-WebSocket-Accept:" + base64.b64encode(proof) + b"\r\n\r\n"
        )
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await _first_to_end(_unwrap(reader, far_writer), _wrap(far_reader, writer))
        finally:
            far_writer.transport.abort()


async def _wrap(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_READ_BYTES):
        short = bytes([len(data)]) if len(data) < 126 else b""
        sink.write(b"\x82" + (short or b"\x7f" + struct.pack("!Q", len(data))) + data)
        await sink.drain()


async def _unwrap(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while True:
        first, second = await source.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(await source.readexactly(size), "big")
        mask = await source.readexactly(4)
        payload = await source.readexactly(length)
        if first & 0x0F == 0x8:
            return
        # One big number: XOR of each byte for itself would take seconds for 10 MB.
        pad = (mask * (length // 4 + 1))[:length]
        plain = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
        sink.write(plain.to_bytes(length, "big"))
        await sink.drain()


async def _first_to_end(
    one: Coroutine[None, None, None], other: Coroutine[None, None, None]
) -> None:
    """Run both until one of them ends; the other ends with it."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
