"""Why a transfer failed, each cause in words: `{repo}`, `{host}` and `{folder}` are filled in by who knows them."""

from __future__ import annotations

import errno
import ssl
import urllib.error
from collections.abc import Mapping

GATED = "{repo} asks for its licence to be accepted: accept it on its page, then set HF_TOKEN to your access token"
OFFLINE = "offline mode is on (HF_HUB_OFFLINE): switch it off, or put the file into {folder} by hand"
NO_CONNECTION = "there is no connection to {host}: check the network, then run it again"
SILENT = "{host} sent nothing for {seconds} seconds: check the network, then run it again (it goes on where it stopped)"
CUT = "the connection to {host} broke off {times} times in a row: run it again (it goes on where it stopped)"
PAGE = (
    "{host} answered with a web page instead of the file, as proxies and login pages do: check the network and "
    "HF_ENDPOINT, or get the file by hand from {repo}"
)
PACKED = (
    "{host} sent the file compressed, which was not asked for: check the proxy, or get the file by hand from {repo}"
)
NO_LENGTH = "{host} does not say how long the file is: check HF_ENDPOINT and the proxy, or get it by hand from {repo}"
REDIRECTED = "{host} sent the request on too often, or to an address that is not safe: check HF_ENDPOINT and the proxy"
_PROXY = "the proxy refused the connection: check HTTPS_PROXY, or get the file by hand from {repo}"
_TLS = "the connection to {host} is not trusted (TLS): check the proxy and the clock"
_GONE = "{repo} does not have it any more: look for it on the Hugging Face Hub, or update Wan Director"
_BAD_TOKEN = "{host} refused the access token: set HF_TOKEN to a valid one, or unset it"
_BY_STATUS = {
    400: "{host} did not understand the request (400): check HF_ENDPOINT",
    403: "{host} refused access to {repo} (403): accept its licence on its page and set HF_TOKEN, or check the proxy",
    404: _GONE,
    407: _PROXY,
    408: "{host} waited too long for the request (408): run it again (it goes on where it stopped)",
    410: _GONE,
    416: "{host} would not send a part of the file (416): run it again",
    429: "{host} asks to slow down (429): wait {wait}, then run it again (it goes on where it stopped)",
    451: "{host} may not send it to where you are (451): get the file elsewhere and put it into {folder}",
}


class TransferError(Exception):
    """A transfer failed; the text is one of this module's causes.

    Attributes:
        again: whether the same request may succeed a moment later.
        after_s: how long the server asks to wait before; None where it does not say.
    """

    def __init__(self, cause: str, *, again: bool = False, after_s: float | None = None) -> None:
        super().__init__(cause)
        self.again = again
        self.after_s = after_s


def of_answer(status: int, headers: Mapping[str, str], *, had_token: bool) -> TransferError:
    """For an HTTP answer that is an error."""
    code = headers.get("X-Error-Code") or ""
    if code == "GatedRepo":
        return TransferError(GATED)
    if code in ("RepoNotFound", "EntryNotFound", "RevisionNotFound"):
        return TransferError(_GONE)
    if status == 401:
        return TransferError(_BAD_TOKEN if had_token else GATED)
    after_s = _retry_after(headers)
    wait = f"{after_s:.0f} seconds" if after_s else "some minutes"
    if status in _BY_STATUS:
        return TransferError(_BY_STATUS[status].replace("{wait}", wait), again=status in (408, 429), after_s=after_s)
    if status >= 500:
        trouble = f"{{host}} has trouble ({status}): wait some minutes, then run it again (it goes on where it stopped)"
        return TransferError(trouble, again=True, after_s=after_s)
    return TransferError(f"{{host}} answered with {status}, which no file comes with: get it by hand from {{repo}}")


def of_exception(error: Exception, *, timeout_s: float) -> TransferError:
    """For what a connection raises."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return TransferError(_TLS)
    if isinstance(reason, TimeoutError):
        return TransferError(SILENT.replace("{seconds}", f"{timeout_s:.0f}"), again=True)
    if isinstance(reason, ssl.SSLError):
        return TransferError(_TLS, again=True)
    if "Tunnel connection failed" in str(reason):
        return TransferError(_PROXY)
    return TransferError(NO_CONNECTION, again=True)


def of_disk(error: OSError) -> str:
    """For an error of the disk that the file goes to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of {folder} is full: make room, then run it again (it goes on where it stopped)"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return "{folder} cannot be written to: check its permissions"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return "{folder} is no folder: give another place"
    if error.errno == errno.EFBIG:
        return "the disk of {folder} holds no file that large (FAT32 stops at 4 GB): use a folder on another disk"
    if error.errno == errno.ENAMETOOLONG:
        return "the name of {folder} is too long for this system: use a shorter one"
    return f"{{folder}} cannot be written to ({error.strerror or type(error).__name__}): check the disk"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = (headers.get("Retry-After") or "").strip()
    return float(value) if value.isdecimal() and len(value) < 6 else None
