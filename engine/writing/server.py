"""A language model that a server of the user's own network runs, by OpenAI's chat interface.

Prompts and pictures go to the address that the user wrote, and only if it is this machine or one of its network. No
proxy is asked and no redirect followed.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import queue
import socket
import ssl
import threading
from collections.abc import Generator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ...common.errors import InvalidInputError, WritingError
from ...common.printable import printable_name
from ...common.records import record
from ..progress import Counted
from ..runtime import Runtime
from .asked import WritingTask

CONNECT_TIMEOUT_S, SILENCE_S = 10.0, 300.0
"""A server may first have to load its model."""
MAX_ANSWER_BYTES = 2_000_000
_POLL_S = 0.1
_SHOWN = 200
_EXAMPLE = "http://127.0.0.1:11434/v1"


@record
class ServerWriter:
    """See `asked.Writer`.

    Attributes:
        address: of the interface, without `/chat/completions`.
        model: its name there; empty where the server has but one.
    """

    address: str
    model: str = ""

    def __post_init__(self) -> None:
        _split(self.address)

    def write(self, asked: WritingTask, runtime: Runtime) -> str:
        runtime.check_interrupt()
        pieces: list[str] = []
        with (
            runtime.progress(Counted("Writing the prompt", "token", asked.most_tokens)) as progress,
            contextlib.closing(_answered(self, _body(self, asked), runtime)) as lines,
        ):
            for line in lines:
                piece, is_whole = _piece(line, self.address)
                pieces.append(piece)
                progress.update(asked.most_tokens if is_whole else min(len(pieces), asked.most_tokens))
        return "".join(pieces)


def _split(address: str) -> SplitResult:
    """The parts of an address.

    Raises:
        InvalidInputError: it is none that a prompt may go to.
    """
    try:
        parts = urlsplit(address.strip())
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_one = SplitResult("", "", "", "", ""), False
    if not is_one or parts.username is not None or parts.query or parts.fragment or not address.isprintable():
        raise InvalidInputError(
            f"'{printable_name(address[:_SHOWN])}' is no address of a language model. Write one such as {_EXAMPLE}, "
            "without name, password and question mark."
        )
    return parts


def _body(writer: ServerWriter, asked: WritingTask) -> bytes:
    content: Any = asked.prompt
    if asked.picture is not None:
        url = "data:image/png;base64," + base64.b64encode(asked.picture).decode("ascii")
        content = [{"type": "text", "text": asked.prompt}, {"type": "image_url", "image_url": {"url": url}}]
    messages = [{"role": "system", "content": asked.instructions}, {"role": "user", "content": content}]
    body: dict[str, Any] = {
        "messages": messages,
        "temperature": asked.temperature,
        "seed": asked.seed % 2**31,
        "max_tokens": asked.most_tokens,
        "stream": True,
    }
    return json.dumps(body | ({"model": writer.model} if writer.model else {})).encode()


def _answered(writer: ServerWriter, body: bytes, runtime: Runtime) -> Generator[bytes, None, None]:
    """The lines of the answer as they come; the user can stop it at any moment.

    Raises:
        WritingError: no answer, or one that is an error.
    """
    lines: queue.Queue[bytes | WritingError | None] = queue.Queue()
    connection = _connected(writer.address)
    own: socket.socket = connection.sock  # the connection lets go of it when the answer begins
    reading = threading.Thread(target=_read, args=(connection, writer, body, lines), daemon=True)
    reading.start()
    try:
        while True:
            runtime.check_interrupt()
            try:
                line = lines.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if line is None:
                return
            if isinstance(line, WritingError):
                raise line
            yield line
    finally:
        with contextlib.suppress(OSError):
            own.shutdown(socket.SHUT_RDWR)
        reading.join(timeout=1.0)
        connection.close()


def _connected(address: str) -> http.client.HTTPConnection:
    """A connection to a machine of the own network, by the very number that was looked at."""
    parts = _split(address)
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise WritingError(f"There is no machine '{printable_name(name)}'. Check the address {address}.") from None
    foreign = [number for number in found if not _is_own(str(number))]
    if foreign:
        raise WritingError(
            f"{address} is not in your own network ({foreign[0]}), and prompts and pictures are not sent beyond it. "
            f"Use a server on this machine or in its network, such as {_EXAMPLE}."
        )
    refusal = WritingError("")
    for number in sorted(found, key=lambda number: ":" in str(number)):
        try:
            plain = socket.create_connection((str(number), port), timeout=CONNECT_TIMEOUT_S)
            return _wrapped(plain, parts, name, port)
        except OSError as error:
            reason = "its certificate is not trusted" if isinstance(error, ssl.SSLError) else _reason(error)
            refusal = WritingError(
                f"No language model answers at {address} ({reason}). Start its server, such as Ollama or another that "
                "is OpenAI-compatible, correct the address, or choose a model's folder in models/LLM."
            )
    raise refusal


def _wrapped(plain: socket.socket, parts: SplitResult, name: str, port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(name, port, timeout=SILENCE_S)
    plain.settimeout(SILENCE_S)
    is_safe = parts.scheme == "https"
    connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=name) if is_safe else plain
    return connection


def _is_own(number: str) -> bool:
    found = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.version == 4 and found.is_link_local:  # 169.254.0.0/16, where clouds keep what only the machine may know
        return False
    return (found.is_loopback or found.is_private or found.is_link_local) and not found.is_unspecified


def _read(
    connection: http.client.HTTPConnection,
    writer: ServerWriter,
    body: bytes,
    lines: queue.Queue[bytes | WritingError | None],
) -> None:
    """Asks, and hands on the lines of the answer; its end is None."""
    path = _split(writer.address).path.rstrip("/") + "/chat/completions"
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "User-Agent": "wan-director"}
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            lines.put(_refused(writer, answer.status, answer.read(10_000)))
            return
        _hand_on(answer, writer, lines)
    except TimeoutError:
        lines.put(WritingError(f"{writer.address} sent nothing for {SILENCE_S:.0f} seconds. Look at its server's log."))
    except (OSError, http.client.HTTPException, ValueError) as error:
        lines.put(WritingError(f"{writer.address} broke off its answer ({_reason(error)}). Look at its server's log."))


def _hand_on(
    answer: http.client.HTTPResponse, writer: ServerWriter, lines: queue.Queue[bytes | WritingError | None]
) -> None:
    is_stream = "event-stream" in (answer.headers.get("Content-Type") or "")
    left = MAX_ANSWER_BYTES
    while left > 0:
        line = answer.readline(left + 1) if is_stream else answer.read(left + 1)
        left -= len(line)
        if not line or line.strip() == b"data: [DONE]":
            lines.put(None)
            return
        if left >= 0 and line.strip() and not line.startswith(b":"):
            lines.put(line)
    lines.put(WritingError(f"{writer.address} sent more than {MAX_ANSWER_BYTES:,} bytes, which is no prompt."))


def _piece(line: bytes, address: str) -> tuple[str, bool]:
    """The text in a line of the answer, and whether it is the whole answer.

    Raises:
        WritingError: it is not what the interface says.
    """
    data = line.strip().removeprefix(b"data:").strip()
    if line.startswith((b"event:", b"id:", b"retry:")):
        return "", False
    try:
        found = json.loads(data)
        if "error" in found:
            raise WritingError(f"{address} answered with an error: {_message(data)}")
        choices = found["choices"]
        if not choices:
            return "", False
        part = choices[0].get("delta")
        is_whole = part is None
        text = (choices[0]["message"] if part is None else part).get("content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        shown = printable_name(data[:60].decode(errors="replace"))
        raise WritingError(
            f"{address} answered with something else than a chat ('{shown}'). Write the address of an "
            "OpenAI-compatible interface, which ends in /v1 as a rule."
        ) from None
    return (text if isinstance(text, str) else ""), is_whole


def _refused(writer: ServerWriter, status: int, body: bytes) -> WritingError:
    advice = {
        401: "It wants a key, which is not sent: switch that off there.",
        404: "Check the address, which ends in /v1 as a rule, and the model's name.",
        429: "It is busy: try again later.",
    }.get(status, "Look at its server's log.")
    return WritingError(f"{writer.address} refused with {status}: {_message(body)}. {advice}")


def _message(body: bytes) -> str:
    """What an error says, in one short line."""
    text = body.decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    return printable_name(" ".join(text.split())[:_SHOWN].rstrip(".")) or "no reason given"


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return str(reason)
