"""A small Hub on this machine: files over plain HTTP, and every way in which that goes wrong."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What the server does, and what it was asked.

    Attributes:
        data: the file that every address gives.
        cuts: for each download in turn, after how many bytes the connection breaks.
        errors: for each request in turn, the status (and headers) that answers it in place of the file.
        ranges: whether parts can be asked for.
        sends_on_to: the address of another server that has the bytes.
        announced: in place of the true size and sha256.
        asked: method, Range and Authorization of each request.
        sent: bytes sent in each download.
    """

    data: bytes
    cuts: list[int] = field(default_factory=list)
    errors: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    ranges: bool = True
    sends_on_to: str | None = None
    announced: dict[str, str] | None = None
    content: Callable[[bytes], bytes] = lambda data: data
    headers: dict[str, str] = field(default_factory=dict)
    silent_s: float = 0.0
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    address: str = ""

    def linked(self) -> dict[str, str]:
        """The headers that tell of the file."""
        if self.announced is not None:
            return self.announced
        digest = hashlib.sha256(self.data).hexdigest()
        return {"X-Linked-Size": str(len(self.data)), "X-Linked-ETag": f'"{digest}"'}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:  # noqa: N802
        self._answer(with_body=False)

    def do_GET(self) -> None:  # noqa: N802
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, wanted = self.hub, self.headers.get("Range")
        hub.asked.append((self.command, wanted, self.headers.get("Authorization")))
        self.close_connection = True
        time.sleep(hub.silent_s)
        if hub.errors:
            status, headers = hub.errors.pop(0)
            if status:
                self._head(status, {"Content-Length": "0", **headers})
                return
        if hub.sends_on_to:
            place = hub.sends_on_to + self.path
            self._head(302, {**hub.linked(), "Location": place, "Content-Length": "0"})
            return
        data, start = hub.content(hub.data), 0
        if wanted and hub.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"})
                return
        about = {"Content-Length": str(len(data) - start), **hub.linked(), **hub.headers}
        if wanted and hub.ranges:
            about["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(206 if wanted and hub.ranges else 200, about)
        if with_body:
            end = start + hub.cuts.pop(0) if hub.cuts else len(data)
            self.wfile.write(data[start:end])
            hub.sent.append(len(data[start:end]))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Runs the server on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = hub
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
