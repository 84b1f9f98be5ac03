"""A folder served with the part of the S3 protocol that reading takes: list, head, ranges."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Serves the folders in `folder` as buckets on loopback; yields the endpoint."""

    class Handler(_Handler):
        root = folder

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    root: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        path = self._path()
        if not path.is_file():
            return self._answer(404, b"")
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.end_headers()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        path = self._path()
        if "list-type" in query:
            return self._list(path, query.get("prefix", ""), query.get("delimiter", ""))
        if not path.is_file():
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        content = path.read_bytes()
        asked = self.headers.get("Range")
        if asked is None:
            return self._answer(200, content)
        first, last = asked.removeprefix("bytes=").split("-")
        wanted = content[int(first) : int(last) + 1]
        self._answer(206, wanted, f"bytes {first}-{int(first) + len(wanted) - 1}/{len(content)}")

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _path(self) -> Path:
        return self.root / unquote(urlsplit(self.path).path).lstrip("/")

    def _list(self, bucket: Path, prefix: str, delimiter: str) -> None:
        keys = sorted(
            path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file()
        )
        listed = []
        for key in (key for key in keys if key.startswith(prefix)):
            inside, deeper, _ = key[len(prefix) :].partition(delimiter or "\n")
            if deeper:
                text = (
                    f"<CommonPrefixes><Prefix>{escape(prefix + inside)}/</Prefix></CommonPrefixes>"
                )
            else:
                size = (bucket / key).stat().st_size
                text = (
                    f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
                    "<LastModified>2026-11-22T00:00:00.000Z</LastModified></Contents>"
                )
            if text not in listed:
                listed.append(text)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>false</IsTruncated><KeyCount>{len(listed)}</KeyCount>"
            f"{''.join(listed)}</ListBucketResult>"
        )
        self._answer(200, body.encode())

    def _answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)
