"""The queue's server: HTTP with a token for each question, on this machine alone unless it is told otherwise."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import select
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..common.errors import InvalidInputError, OutputError, WanDirectorError
from ..common.log import logger
from ..common.records import record
from .desk import Desk, MissingInputs
from .folder import QueueTokens

MOST_JSON_BYTES, MOST_FILE_BYTES = 4 << 20, 8 << 30
_MOST_CONNECTIONS, _SILENCE_S = 512, 40.0
_FORGET_EVERY_S = 60.0
_PAGE = Path(__file__).parent / "page"
_PAGES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
_KINDS = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".mp4": "video/mp4", ".webm": "video/webm", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif",
    ".webp": "image/webp",
}  # fmt: skip
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Reply(NamedTuple):
    """What is answered: an object as JSON, or a file."""

    status: int
    content: Any = None
    file: Path | None = None


class NotAnswered(Exception):  # noqa: N818  (it is an answer)
    """A question that is not answered, with the status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@record
class Address:
    """Where a server listens.

    Attributes:
        host: an address of this machine; 127.0.0.1 for itself alone.
        port: 0 for any.
        names: more names by which browsers may call it.
    """

    host: str = "127.0.0.1"
    port: int = 8189
    names: tuple[str, ...] = ()

    def knows(self, called: str) -> bool:
        """Whether a browser that calls it so means this server, and no name that leads here by a trick."""
        name = urlsplit(f"//{called}").hostname or ""
        return name in {"127.0.0.1", "localhost", "::1", self.host, *self.names}


class QueueServer(ThreadingHTTPServer):
    """See the module; a thread for each connection, of which there is a bound."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, desk: Desk, tokens: QueueTokens, address: Address | None = None) -> None:
        address = address or Address()
        self.desk, self.tokens, self.address = desk, tokens, address
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._ends = threading.Event()
        try:
            super().__init__((address.host, address.port), _Connection)
        except OSError as error:
            raise OutputError(
                f"Port {address.port} of {address.host} cannot be served ({error.strerror or error}). Choose another "
                "--port or --host."
            ) from None

    @property
    def port(self) -> int:
        """The one that it has got."""
        return self.server_address[1]

    @property
    def ends(self) -> bool:
        """Whether it answers nothing any more."""
        return self._ends.is_set()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Inside, it answers."""
        threads = [threading.Thread(target=each, daemon=True) for each in (self._serve, self._look_after)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self.desk.patient = False
            self.shutdown()
            self.server_close()

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.05)

    def _look_after(self) -> None:
        next_s = time.monotonic()
        while not self._ends.wait(0.5):
            try:
                self.desk.tidy()
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + _FORGET_EVERY_S
                    self.desk.forget()
            except Exception:  # a border: a disk that fails for a while does not end the server
                logger.exception("The queue could not be looked after.")

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no matter for the log."""


class _Connection(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "wan-director", ""
    timeout = _SILENCE_S

    @property
    def _queue(self) -> QueueServer:
        assert isinstance(self.server, QueueServer)
        return self.server

    def do_GET(self) -> None:  # noqa: N802  (the library's name)
        self._answer("GET")

    def do_POST(self) -> None:  # noqa: N802
        self._answer("POST")

    def do_PUT(self) -> None:  # noqa: N802
        self._answer("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        """Who asks what is no matter for the log; an address may hold anything."""

    def _answer(self, method: str) -> None:
        try:
            reply = self._reply(method)
        except NotAnswered as refused:
            self.close_connection = True  # what it sent is not read
            reply = Reply(refused.status, {"error": str(refused)})
        except MissingInputs as missing:
            reply = Reply(409, {"error": str(missing), "missing": missing.digests})
        except OutputError as error:
            self.close_connection = True
            reply = Reply(507, {"error": str(error)})
        except WanDirectorError as error:
            self.close_connection = True
            reply = Reply(422, {"error": str(error)})
        except ConnectionError:
            raise
        except Exception:  # a border: a question that nobody foresaw ends no server
            logger.exception("A question could not be answered.")
            self.close_connection = True
            reply = Reply(500, {"error": "The server has failed at this. Its log says why."})
        self._send(reply)

    def _reply(self, method: str) -> Reply:
        """An answer.

        Raises:
            NotAnswered, MissingInputs, WanDirectorError: there is none.
        """
        if self._queue.ends:
            raise NotAnswered(503, "The server is about to end.")
        asked = urlsplit(self.path)
        if not self._queue.address.knows(self.headers.get("Host", "")):
            raise NotAnswered(403, "The server is called by a name that it does not have. Start it with --name NAME.")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            raise NotAnswered(403, "A page of another server asks. Only the server's own page may.")
        if method == "GET" and asked.path in _PAGES:
            return Reply(200, file=_PAGE / _PAGES[asked.path])
        parts = [unquote(part) for part in asked.path.strip("/").split("/")]
        self._check_token(self._queue.tokens.working if parts[0] == "worker" else self._queue.tokens.asking)
        if method == "PUT" and len(parts) == 3 and parts[:2] == ["api", "files"]:
            return self._take_file(parts[2])
        said = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        if method == "POST" and parts == ["worker", "lease"]:
            return Reply(200, {"job": self._queue.desk.lease(self._json(), self._is_open)})
        route, ids = _find(method, parts)
        return route(self._queue.desk, *ids, self._json() if method == "POST" else said)

    def _check_token(self, token: str) -> None:
        shown = self.headers.get("Authorization", "")
        if not secrets.compare_digest(shown.encode("utf-8", "replace"), f"Bearer {token}".encode()):
            raise NotAnswered(401, "The token is missing or wrong. The server has written it to its folder.")

    def _is_open(self) -> bool:
        """Whether whoever asks is still there: one that has gone has closed its end."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or self.connection.recv(1, socket.MSG_PEEK) != b""
        except (OSError, ValueError):
            return False

    def _length(self, most: int) -> int:
        if self.headers.get("Transfer-Encoding") is not None:
            raise NotAnswered(411, "Say the length of what you send.")
        said = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,15}", said):
            raise NotAnswered(411, "Say the length of what you send.")
        if int(said) > most:
            raise NotAnswered(413, f"{int(said):,} bytes are too many, {most:,} may be sent.")
        return int(said)

    def _json(self) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise NotAnswered(415, "Send JSON, as application/json. Nothing else is read.")
        content = self.rfile.read(self._length(MOST_JSON_BYTES))
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            raise NotAnswered(400, "What was sent is no JSON.") from None
        if not isinstance(said, dict):
            raise NotAnswered(400, "Send an object of JSON.")
        return said

    def _take_file(self, digest: str) -> Reply:
        size = self._length(MOST_FILE_BYTES)
        self._queue.desk.folder.add_file(digest, size, self.rfile.read)
        return Reply(201, {"file": digest})

    def _send(self, reply: Reply) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            if reply.file is not None:
                self._send_file(reply.file)
                return
            content = json.dumps(reply.content).encode()
            self._send_head(reply.status, "application/json", len(content))
            self.wfile.write(content)

    def _send_file(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                kind = _KINDS.get(path.suffix.lower(), "application/octet-stream")
                self._send_head(200, kind, path.stat().st_size)
                shutil.copyfileobj(file, self.wfile)
        except FileNotFoundError:
            self._send(Reply(404, {"error": "There is no such file (any more)."}))

    def _send_head(self, status: int, kind: str, size: int) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        if kind == "application/octet-stream":
            self.send_header("Content-Disposition", "attachment")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


Route = Callable[..., Reply]


def _listed(desk: Desk, said: Mapping[str, str]) -> Reply:
    limit = said.get("limit", "100")
    if not limit.isdecimal() or len(limit) > 6:
        raise InvalidInputError("limit is a number of jobs. Send one.")
    return Reply(200, desk.listed(said.get("state", ""), int(limit), said.get("before", "")))


def _found(work: Callable[[], Reply]) -> Reply:
    try:
        return work()
    except InvalidInputError as error:
        return Reply(404, {"error": str(error)})


_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "api/jobs"): _listed,
    ("POST", "api/jobs"): lambda desk, said: Reply(201, desk.told(desk.submit(said))),
    ("GET", "api/jobs/*"): lambda desk, id, _: _found(lambda: Reply(200, desk.told(desk.queue.job(id)))),
    ("GET", "api/jobs/*/preview"): lambda desk, id, _: Reply(200, file=desk.folder.preview(id)),
    ("GET", "api/jobs/*/result"): lambda desk, id, said: _found(
        lambda: Reply(200, file=desk.result(id, said.get("name", "")))
    ),
    ("POST", "api/jobs/*/cancel"): lambda desk, id, _: Reply(200, desk.told(desk.queue.cancel(id))),
    ("POST", "api/jobs/*/again"): lambda desk, id, _: Reply(200, desk.told(desk.queue.again(id))),
    ("POST", "worker/places"): lambda desk, said: Reply(200, desk.places(said)),
    ("POST", "worker/*/beat"): lambda desk, id, said: Reply(
        200, {"goes_on": desk.beat(id, str(said.get("lease", "")), said)}
    ),
    ("POST", "worker/*/end"): lambda desk, id, said: Reply(
        200, {"counts": desk.end(id, str(said.get("lease", "")), said)}
    ),
}


def _find(method: str, parts: list[str]) -> tuple[Route, list[str]]:
    for (wanted, pattern), route in _ROUTES.items():
        names = pattern.split("/")
        if wanted == method and len(names) == len(parts) and all(n in ("*", p) for n, p in zip(names, parts)):
            return route, [part for name, part in zip(names, parts) if name == "*"]
    raise NotAnswered(404, "There is nothing at this address.")
