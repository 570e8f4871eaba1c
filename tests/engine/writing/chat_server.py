"""A small server with OpenAI's chat interface on this machine, and every way in which that goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Chat:
    """What the server does, and what it was asked.

    Attributes:
        pieces: of the answer, a line of the stream each.
        status, body: what answers in place of it.
        streams: whether it heeds `stream`.
        waits_s: before each piece.
        asked: path and body of each request.
    """

    pieces: tuple[str, ...] = ("A cat", " runs.")
    status: int = 200
    body: bytes | None = None
    content_type: str = "text/event-stream"
    streams: bool = True
    waits_s: float = 0.0
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    address: str = ""


@contextmanager
def served(chat: Chat) -> Iterator[Chat]:
    """The server, while it runs; its address ends in /v1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802  (the library's name)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat.asked.append((self.path, body))
            self.send_response(chat.status)
            self.send_header("Content-Type", chat.content_type if chat.streams else "application/json")
            self.end_headers()
            try:
                self._answer()
            except OSError:  # the asker has gone
                return

        def _answer(self) -> None:
            if chat.body is not None:
                self.wfile.write(chat.body)
            elif not chat.streams:
                whole = {"choices": [{"message": {"role": "assistant", "content": "".join(chat.pieces)}}]}
                self.wfile.write(json.dumps(whole, indent=1).encode())
            else:
                for piece in chat.pieces:
                    time.sleep(chat.waits_s)
                    line = json.dumps({"choices": [{"delta": {"content": piece}}]})
                    self.wfile.write(f"data: {line}\n\n".encode())
                    self.wfile.flush()
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    chat.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
