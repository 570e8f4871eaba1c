"""Talking to the queue's server, from any machine: with the standard library, without redirections or proxies."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from ..common.errors import ClusterError, InvalidInputError
from ..common.records import record
from ..media.faults import writing_to
from ..media.whole import replace_file, unfinished_file
from .folder import checked_name, digest_of

USUAL_URL = "http://127.0.0.1:8189"
URL, TOKEN = "WAN_DIRECTOR_QUEUE", "WAN_DIRECTOR_QUEUE_TOKEN"
"""The environment's variables that hold another address, and the token."""
_PIECE = 1 << 20
Answer = TypeVar("Answer")
_MOST_ANSWER_BYTES = 64 << 20


class Unreachable(ClusterError):  # noqa: N818  (it is waited for)
    """The server does not answer; it may later."""


class Gone(ClusterError):  # noqa: N818  (it is an answer)
    """What was asked for is not there."""


@record
class QueueClient:
    """A server by its address, and the token that it wants.

    Attributes:
        url: http://HOST:PORT, or https behind a server that adds it.
        token: see `folder.QueueTokens`.
        timeout_s: for an answer.
    """

    url: str
    token: str
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise InvalidInputError(f"{self.url!r} is no address of a queue. Give one as http://127.0.0.1:8189.")

    def submit(self, request: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
        """Queues a job, and sends the input files that the server has not got; the job.

        Args:
            request: as `desk.Desk.submit` takes it, but for `files`.
            files: input files by their names in the graph.
        """
        digests = {name: digest_of(path) for name, path in files.items()}
        by_digest = {digest: files[name] for name, digest in digests.items()}
        status, answer = self._ask("POST", "/api/jobs", {**request, "files": digests}, also=409)
        if status == 409:
            for digest in answer["missing"]:
                self._send_file(digest, by_digest[digest])
            _, answer = self._ask("POST", "/api/jobs", {**request, "files": digests})
        return answer

    def job(self, id: str) -> dict[str, Any]:
        """A job."""
        return self._ask("GET", f"/api/jobs/{quote(id, safe='')}")[1]

    def jobs(self, state: str = "", limit: int = 100, before: str = "") -> dict[str, Any]:
        """Jobs, see `desk.Desk.listed`."""
        return self._ask("GET", f"/api/jobs?{urlencode({'state': state, 'limit': limit, 'before': before})}")[1]

    def change(self, id: str, how: str) -> dict[str, Any]:
        """Cancels a job ("cancel"), or queues it anew ("again")."""
        return self._ask("POST", f"/api/jobs/{quote(id, safe='')}/{how}", {})[1]

    def fetch(self, id: str, result: Mapping[str, Any], folder: Path) -> Path:
        """Downloads one of a job's results, whole and compared with its digest, or not at all; its path.

        What lies there already is replaced, unless it is the same.

        Raises:
            OutputError: it cannot be written there.
        """
        target = folder / checked_name(result["name"])
        if target.is_file() and digest_of(target) == result["sha256"]:
            return target
        address = f"/api/jobs/{quote(id, safe='')}/result?{urlencode({'name': result['name']})}"
        with writing_to(target.parent), _new_file(target.parent) as part:
            self._talk("GET", address, None, {}, lambda answer: _save(answer, part))
            if digest_of(part) != result["sha256"]:
                raise Unreachable(f"{result['name']} arrived damaged. Fetch it again.")
            replace_file(part, target)
        return target

    def ask(self, address: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """A worker's question."""
        return self._ask("POST", address, said)[1]

    def _ask(self, method: str, address: str, said: Any = None, also: int = 200) -> tuple[int, Any]:
        content = None if said is None else json.dumps(said).encode()
        kind = {} if content is None else {"Content-Type": "application/json"}
        return self._talk(method, address, content, kind, _read, also)

    def _send_file(self, digest: str, path: Path) -> None:
        with path.open("rb") as file:
            length = {"Content-Length": str(os.fstat(file.fileno()).st_size)}
            self._talk("PUT", f"/api/files/{digest}", file, length, _read)

    def _talk(
        self,
        method: str,
        address: str,
        content: Any,
        headers: Mapping[str, str],
        take: Callable[[HTTPResponse], Any],
        also: int = 200,
    ) -> tuple[int, Any]:
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout_s)
        try:
            connection.request(method, address, content, {**headers, "Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            if answer.status in (200, 201, also):
                return answer.status, take(answer)
            raise _refusal(answer.status, _read(answer))
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise Unreachable(f"The queue at {self.url} does not answer ({error}). Is it served there?") from None
        finally:
            connection.close()


def patiently(ask: Callable[[], Answer], wait: Callable[[], None], tries: int = 30) -> Answer:
    """Asks again where the server is away for a moment: a request that comes twice is one job.

    Args:
        wait: is called before each further try.

    Raises:
        Unreachable: it stays away.
    """
    for _ in range(tries):
        with contextlib.suppress(Unreachable):
            return ask()
        wait()
    return ask()


@contextlib.contextmanager
def _new_file(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with unfinished_file(folder, "file") as part:
        yield part


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _read(answer: HTTPResponse) -> Any:
    return json.loads(answer.read(_MOST_ANSWER_BYTES))


def _save(answer: HTTPResponse, part: Path) -> None:
    with part.open("wb") as file:
        while piece := answer.read(_PIECE):
            with writing_to(part.parent):  # else it would look as if the server were away
                file.write(piece)
                file.flush()


def _refusal(status: int, said: Any) -> Exception:
    why = str(said.get("error", "")) if isinstance(said, dict) else ""
    if status in (500, 503):
        return Unreachable(why)
    return Gone(why) if status == 404 else ClusterError(why or f"The queue answers {status}.")
