"""Which queues may be asked, and with which token: a graph may come from anybody, and shall give no token away."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

from ...cluster.client import TOKEN, URL, USUAL_URL, QueueClient
from ...common.checking import check_string
from ...common.errors import InvalidInputError
from ...common.printable import printable_name
from ..hosts.host import host

KNOWN = "queues.txt"
"""A file in the host's own folder: in each line the address of a queue and its token."""
_POLL_S = 1.0
_HERE = ("127.0.0.1", "localhost", "::1")


def client_of(address: str) -> QueueClient:
    """The queue at an address, or the usual one; without its token nothing is sent there.

    Raises:
        InvalidInputError: it is no address, or its token is not known here.
    """
    check_string(address, "address")
    usual = os.environ.get(URL) or USUAL_URL
    url = address.strip().rstrip("/") or usual.rstrip("/")
    token = _known().get(url) or (os.environ.get(TOKEN, "") if url == usual.rstrip("/") or _is_here(url) else "")
    client = QueueClient(url, token)
    if not token.isascii() or not token.isprintable() or not token:
        raise InvalidInputError(
            f"The queue at {printable_name(url)} wants a token, and none is known here. Write a line with this "
            f"address, a space and the token into {host().own_folder() / KNOWN}; the token is the file `token` in the "
            f"folder of the queue. Or start ComfyUI with {TOKEN} set to it{_and_address(url, usual)}."
        )
    return client


def wait() -> None:
    """A moment, in which the run may be cancelled."""
    host().runtime.check_interrupt()
    time.sleep(_POLL_S)


def _known() -> dict[str, str]:
    """Token by address."""
    try:
        lines = (host().own_folder() / KNOWN).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return {pair[0].rstrip("/"): pair[1] for pair in pairs if len(pair) == 2}


def _is_here(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _HERE
    except ValueError:
        return False


def _and_address(url: str, usual: str) -> str:
    return "" if url == usual.rstrip("/") or _is_here(url) else f", and {URL} to the address"
