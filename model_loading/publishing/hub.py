"""The Hugging Face Hub: its address, its settings, its token and its cache, each as its own library reads them.

Source: huggingface_hub 2.4, `constants.py` and `utils/_auth.py` (the environment variables), `file_download.py` (the
layout of the cache).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from ...common.errors import DownloadError
from .known_files import KnownFile

DEFAULT_ENDPOINT = "https://huggingface.co"
_YES = frozenset({"1", "on", "yes", "true"})
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_offline() -> bool:
    """Whether the user has forbidden connections."""
    return any(os.environ.get(name, "").lower() in _YES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def file_url(file: KnownFile) -> str:
    """The address of a published file at the Hub, or at the mirror that HF_ENDPOINT names.

    Raises:
        DownloadError: HF_ENDPOINT is no address.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or "@" in endpoint:
        raise DownloadError(
            f"{file.name} could not be downloaded: HF_ENDPOINT is no address such as {DEFAULT_ENDPOINT}. Correct it, "
            "or unset it."
        )
    return f"{endpoint}/{file.repo}/resolve/main/{quote(file.path_in_repo)}"


def token() -> str | None:
    """The user's access token, from the environment or from the file that logging in leaves; None without one.

    Raises:
        DownloadError: it holds what no token holds. The message does not show it.
    """
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in _YES:
        return None
    names = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    found = next((os.environ[name].strip() for name in names if os.environ.get(name, "").strip()), None)
    if found is None:
        try:
            found = _token_file().read_text(encoding="utf-8").strip() or None
        except (OSError, ValueError):
            return None
    if found is not None and not _TOKEN.fullmatch(found):
        raise DownloadError(
            "The access token (HF_TOKEN) holds characters that no token has. Set it again, or unset it."
        )
    return found


def cached_copies(file: KnownFile) -> Iterator[tuple[Path, str | None]]:
    """Copies of a published file in the Hub's cache, the newest first, each with its sha256 where the name tells it."""
    snapshots = _cache_folder() / f"models--{file.repo.replace('/', '--')}" / "snapshots"
    try:
        found = [each / file.path_in_repo for each in snapshots.iterdir() if (each / file.path_in_repo).is_file()]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return
    for path in found:
        name = path.resolve().name
        yield path, name if _SHA256.fullmatch(name) else None


def _home() -> Path:
    fallback = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return _expanded(os.environ.get("HF_HOME") or fallback)


def _token_file() -> Path:
    return _expanded(os.environ.get("HF_TOKEN_PATH") or _home() / "token")


def _cache_folder() -> Path:
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(named or _home() / "hub")


def _expanded(path: str | Path) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(path)))  # unlike Path's, it leaves an unknown user as it is
