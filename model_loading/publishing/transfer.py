"""One file over HTTP in ranges: a transfer that breaks off goes on at the byte where it stopped, in any later process.

Neither the chunked protocol of the Hub's newer storage (xet) nor a package is needed for that: the Hub hands every file
out over plain HTTP too. The access token goes to the host that was asked, never to one it sends us on to.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from ...common.log import logger
from ..files.file_type import human_bytes
from ..meter import OnBytes
from .causes import CUT, PACKED, PAGE, REDIRECTED, TransferError, of_answer, of_exception

ASK_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
TRIES = 5
"""Requests in a row that bring not a single byte, after which the transfer is given up."""
_MAX_REQUESTS = 1000
_WAIT_S, _MAX_WAIT_S = 0.5, 60.0
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Published(NamedTuple):
    """What a server says of a file: bytes, sha256 and the mark of this version, each None where it does not say."""

    size_bytes: int | None
    sha256: str | None
    mark: str | None


class _Answer(NamedTuple):
    """The answer at the end of a chain of redirects, and the headers on the way that tell of the file itself."""

    body: Any
    status: int
    headers: Any
    linked: dict[str, str]


def ask(url: str, token: str | None) -> Published:
    """What is published at an address.

    Raises:
        TransferError: no answer, or one that is an error.
    """
    with _request("HEAD", url, token, ASK_TIMEOUT_S) as answer:
        linked = answer.linked
        mark = linked.get("X-Linked-ETag") or linked.get("ETag")
        size = linked.get("X-Linked-Size") or linked.get("Content-Length") or ""
        if answer.status >= 400 and answer.status not in (405, 501):  # those two: no questions, only downloads
            raise of_answer(answer.status, answer.headers, had_token=token is not None)
        if "X-Linked-ETag" not in linked and "text/html" in (answer.headers.get("Content-Type") or ""):
            raise TransferError(PAGE)
    mark = (mark or "").removeprefix("W/").strip('"') or None
    sha256 = mark.lower() if mark is not None and _SHA256.fullmatch(mark.lower()) else None
    return Published(int(size) if size.isdecimal() else None, sha256, mark)


def transfer(url: str, token: str | None, part: Path, size_bytes: int, on_bytes: OnBytes) -> None:
    """Brings the file at an address to `part`, whose bytes so far are its beginning, until it has `size_bytes`.

    Raises:
        TransferError: the server refuses, or several requests in a row brought nothing.
        OSError: the disk refuses.
    """
    failures = 0
    for _ in range(_MAX_REQUESTS):
        before = _size(part)
        if before == size_bytes:
            return
        try:
            _go_on(url, token, part, size_bytes, on_bytes)
        except TransferError as error:
            after = _size(part)
            failures = 0 if after > before else failures + 1
            if not error.again or failures >= TRIES:
                raise
            wait_s = min(_MAX_WAIT_S, error.after_s or _WAIT_S * (2**failures - 1))
            when = f" in {wait_s:.0f} seconds" if wait_s >= 1 else ""
            logger.info("The transfer broke off at %s; it goes on%s.", human_bytes(after), when)
            time.sleep(wait_s)
    raise _cut()


def _go_on(url: str, token: str | None, part: Path, size_bytes: int, on_bytes: OnBytes) -> None:
    """One request for what is missing."""
    have = _size(part)
    if have > size_bytes:
        part.unlink()
        have = 0
    with _request("GET", url, token, READ_TIMEOUT_S, have) as answer, part.open("ab") as file:
        _check_answer(answer, have, size_bytes, file, had_token=token is not None)
        have = file.tell()
        on_bytes(have, size_bytes)
        while chunk := _read(answer.body):
            if have + len(chunk) > size_bytes:
                raise TransferError(_wrong_length(have + len(chunk), size_bytes))
            file.write(chunk)
            have += len(chunk)
            on_bytes(have, size_bytes)
    if have < size_bytes:
        raise _cut()


def _check_answer(answer: _Answer, have: int, size_bytes: int, file: IO[bytes], *, had_token: bool) -> None:
    """Refuses what is not the rest of the file; a server that cannot send a part sends it whole, from the start."""
    if answer.status == 416:
        file.truncate(0)  # what is here is no beginning of the file
        raise TransferError(str(of_answer(416, answer.headers, had_token=had_token)), again=True)
    if answer.status not in (200, 206):
        raise of_answer(answer.status, answer.headers, had_token=had_token)
    if (answer.headers.get("Content-Encoding") or "identity") != "identity":
        raise TransferError(PACKED)
    start, total = 0, answer.headers.get("Content-Length") or ""
    if answer.status == 206:
        found = _CONTENT_RANGE.fullmatch((answer.headers.get("Content-Range") or "").strip())
        start, total = (int(found[1]), found[2]) if found else (-1, "")
    if total.isdecimal() and int(total) != size_bytes:
        is_page = "text/html" in (answer.headers.get("Content-Type") or "")
        raise TransferError(PAGE if is_page else _wrong_length(int(total), size_bytes))
    if start not in (0, have):
        file.truncate(0)
        raise TransferError(str(of_answer(416, answer.headers, had_token=had_token)), again=True)
    if start != have:
        file.truncate(0)
        file.seek(0)


def _wrong_length(found: int, expected: int) -> str:
    return (
        f"{{host}} sends {found:,} bytes where {expected:,} are published: check the proxy and HF_ENDPOINT, or get the "
        "file by hand from {repo}"
    )


def _cut() -> TransferError:
    return TransferError(CUT.replace("{times}", str(TRIES)), again=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _read(body: Any) -> bytes:
    """The next bytes; nothing at the end."""
    try:
        return body.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise of_exception(error, timeout_s=READ_TIMEOUT_S) from None


@contextlib.contextmanager
def _request(method: str, url: str, token: str | None, timeout_s: float, start: int = 0) -> Iterator[_Answer]:
    """The answer at an address, where redirects lead; a question about the file ends where its true host is named."""
    asked, linked = _origin(url), {}
    for _ in range(_MAX_REDIRECTS):
        body = _open(method, url, token if _origin(url) == asked else None, start, timeout_s)
        with contextlib.closing(body):
            names = ("X-Linked-ETag", "X-Linked-Size", "ETag", "Content-Length")
            place = body.headers.get("Location") if body.status in _REDIRECTS else None
            wanted = names[:2] if place else names
            linked = {name: body.headers[name] for name in wanted if body.headers.get(name)} | linked
            if place is None or (method == "HEAD" and "X-Linked-Size" in linked):
                yield _Answer(body, 200 if place else body.status, body.headers, linked)
                return
            following = urljoin(url, place)
            if urlsplit(following).scheme not in ("https", urlsplit(url).scheme):
                raise TransferError(REDIRECTED)
            url = following
    raise TransferError(REDIRECTED)


def _open(method: str, url: str, token: str | None, start: int, timeout_s: float) -> Any:
    headers = {"User-Agent": "wan-director", "Accept-Encoding": "identity"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return _opener().open(urllib.request.Request(url, headers=headers, method=method), timeout=timeout_s)
    except urllib.error.HTTPError as answer:
        return answer
    except (OSError, http.client.HTTPException) as error:
        raise of_exception(error, timeout_s=timeout_s) from None
    except ValueError:  # an address that is none
        raise TransferError(REDIRECTED) from None


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to us: the library's own would send the token on."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=_tls()))


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError, OSError):  # some Pythons bring no certificates of their own
        import certifi

        context.load_verify_locations(certifi.where())
    return context
