"""A small HTTP/1.1 server: one event loop for any number of connections, a few threads for the
work. Slow, silent and half-open clients hold a connection for a bounded time and never a thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import grpc

from serving.errors import ServingError
from serving.json_writer import error_document
from serving.rest import Response

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 << 20
_MAX_HEAD_BYTES = 64 << 10
_MAX_CONNECTIONS = 8192
# How long a client may take to send a request it has begun, and to begin the next one.
_READ_SECONDS = 30.0
_IDLE_SECONDS = 120.0
_CORS = (
    "Access-Control-Allow-Origin: *\r\n"
    "Access-Control-Allow-Methods: POST, GET\r\n"
    "Access-Control-Allow-Headers: Content-Type\r\n"
)

Respond = Callable[[str, str, bytes], Response]


class _BadRequest(Exception):
    """What a client sent is not HTTP this server takes: the status to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class HttpServer:
    """Serves `respond` on a port.

    Args:
        address: address to listen on.
        port: port to listen on.
        respond: answers (method, path, body); called from worker threads.
        threads: number of those.
        timeout_seconds: after which a request that has no answer yet gets 504.
        cors: whether to allow calls from other origins' pages.
    """

    def __init__(
        self,
        address: str,
        port: int,
        respond: Respond,
        *,
        threads: int,
        timeout_seconds: float,
        cors: bool,
    ) -> None:
        self._port = port
        self._address = address
        self._respond = respond
        self._timeout_seconds = timeout_seconds
        self._cors = cors
        self._workers = ThreadPoolExecutor(threads, "rest")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering = 0
        self._closing = False

    def start(self) -> None:
        """Open the port.

        Raises:
            ServingError: it cannot be opened.
        """
        self._thread.start()
        try:
            self._server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except OSError as error:
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                f"{self._address}:{self._port} cannot be opened: {error.strerror}",
            ) from error
        log.info("Exporting HTTP/REST API at:%s:%d ...", self._address, self._port)

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(
            self._serve, self._address, self._port, limit=_MAX_HEAD_BYTES, backlog=1024
        )

    def stop(self, grace_seconds: float) -> None:
        """Close the port, and give requests under way some time to finish."""
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._close(grace_seconds), self._loop).result()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        self._workers.shutdown(wait=False)

    async def _close(self, grace_seconds: float) -> None:
        assert self._server is not None
        self._closing = True
        self._server.close()
        ends = self._loop.time() + grace_seconds
        while self._answering and self._loop.time() < ends:
            await asyncio.sleep(0.01)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._serve_one(reader, writer) and not self._closing:
                pass
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away or went silent.
        except asyncio.CancelledError:
            pass  # The server stops.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Returns whether the connection stays open for another."""
        counted = False
        try:
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    first = await reader.readexactly(1)
                async with asyncio.timeout(_READ_SECONDS):
                    head = first + await reader.readuntil(b"\r\n\r\n")
                    method, path, version, headers = _parse_head(head)
                    self._answering += 1
                    counted = True
                    if headers.get("expect", "").lower() == "100-continue":
                        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await _read_body(reader, headers)
            except asyncio.LimitOverrunError:
                raise _BadRequest(431, "The headers are too long") from None
            except asyncio.IncompleteReadError as error:
                if error.partial and not counted:
                    raise _BadRequest(400, "The request ends within its headers") from None
                raise
            response = await self._answer(method, path, body)
        except _BadRequest as error:
            # What follows on this connection cannot be told apart: close it.
            response = Response(error.status, error_document(str(error)))
            keep = False
        else:
            connection = headers.get("connection", "").lower()
            keep = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"
        finally:
            if counted:
                self._answering -= 1
        keep = keep and not self._closing
        writer.write(self._bytes(response, keep))
        async with asyncio.timeout(_READ_SECONDS):
            await writer.drain()
        return keep

    async def _answer(self, method: str, path: str, body: bytes) -> Response:
        if method == "OPTIONS" and self._cors:
            return Response(200, b"")
        work = self._workers.submit(self._respond, method, path, body)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.shield(asyncio.wrap_future(work))
        except TimeoutError:
            # Nobody waits for it any more: what has not begun never will.
            work.cancel()
            return Response(504, error_document("Timed out waiting for notification"))

    def _bytes(self, response: Response, keep: bool) -> bytes:
        try:
            reason = HTTPStatus(response.status).phrase
        except ValueError:
            reason = "Client Closed Request"
        head = (
            f"HTTP/1.1 {response.status} {reason}\r\n"
            f"Content-Type: {response.content_type}\r\n"
            f"Content-Length: {len(response.body)}\r\n"
            f"{_CORS if self._cors else ''}"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        return head.encode() + response.body


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequest(400, f"Not an HTTP/1.1 request line: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise _BadRequest(400, f"Not a header: {line[:80]!r}")
        name = name.lower()
        if name in ("content-length", "transfer-encoding") and name in headers:
            raise _BadRequest(400, f"The header {name} is given twice")
        headers[name] = value.strip()
    path = parts[1].partition("?")[0]
    if path.startswith("http://"):
        path = "/" + path[len("http://") :].partition("/")[2]
    return parts[0], path, parts[2], headers


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    encoding = headers.get("transfer-encoding", "").lower()
    if encoding and "content-length" in headers:
        raise _BadRequest(400, "Both Content-Length and Transfer-Encoding are given")
    if encoding == "chunked":
        body = await _read_chunks(reader)
    elif encoding:
        raise _BadRequest(501, f"Transfer-Encoding {encoding} is not supported")
    else:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise _BadRequest(400, f"Content-Length is not a number: {length[:40]!r}")
        if len(length) > 15 or int(length) > MAX_BODY_BYTES:
            raise _BadRequest(413, f"A body has at most {MAX_BODY_BYTES} bytes")
        body = await _read_exactly(reader, int(length))
    if headers.get("content-encoding", "").lower() == "gzip":
        return _gunzip(body)
    return body


async def _read_exactly(reader: asyncio.StreamReader, length: int) -> bytes:
    """A body of known length, as long as it keeps coming."""
    parts: list[bytes] = []
    while length:
        async with asyncio.timeout(_READ_SECONDS):
            part = await reader.read(min(length, 1 << 20))
        if not part:
            raise asyncio.IncompleteReadError(b"", length)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        async with asyncio.timeout(_READ_SECONDS):
            line = await reader.readuntil(b"\r\n")
        digits = line.partition(b";")[0].strip()
        try:
            size = int(digits, 16) if digits.isalnum() and len(digits) < 12 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise _BadRequest(400, f"Not a chunk size: {line[:40]!r}")
        total += size
        if total > MAX_BODY_BYTES:
            raise _BadRequest(413, f"A body has at most {MAX_BODY_BYTES} bytes")
        if not size:
            while line != b"\r\n":
                async with asyncio.timeout(_READ_SECONDS):
                    line = await reader.readuntil(b"\r\n")
            return b"".join(parts)
        parts.append(await _read_exactly(reader, size))
        if await _read_exactly(reader, 2) != b"\r\n":
            raise _BadRequest(400, "A chunk is longer than its size")


def _gunzip(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise _BadRequest(400, f"The body is not gzip: {error}") from error
    if len(plain) > MAX_BODY_BYTES:
        raise _BadRequest(413, f"A body has at most {MAX_BODY_BYTES} bytes")
    if not inflater.eof:
        raise _BadRequest(400, "The gzip body is cut short")
    return plain
