"""What a file is, judged by its first bytes and never by its name; used to say what is wrong with a damaged one."""

from __future__ import annotations

import re
from pathlib import Path

HEAD_BYTES = 512

# First bytes of what people end up with in a model folder, and what to do about it.
_MAGIC = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself: download the file itself (git lfs pull)"),
    (b"GGUF", "a GGUF file"),
    (b"PK\x03\x04", "a zip archive (as PyTorch .pth files are)"),
    (b"\x80\x02", "a Python pickle (as old PyTorch .pth files are)"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"%PDF", "a PDF document: download the model file itself"),
    (b"\x89PNG", "a picture: choose a model file"),
    (b"\xff\xd8\xff", "a picture: choose a model file"),
    (b"\x89HDF", "an HDF5 file"),
)
_HTML = re.compile(rb"^\s*(<!doctype|<html|<head|<\?xml)", re.IGNORECASE)
_JSON_MESSAGE = re.compile(rb"^\s*[{\[]")


def describe_content(path: Path) -> str | None:
    """Names the content of `path` by its first bytes, with advice where there is any; None if it is not known.

    A safetensors file starts with its header length and is therefore "not known" here.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "empty: download it again"
    if head.count(0) == len(head) == HEAD_BYTES:
        return "filled with zeros (an interrupted download): download it again"
    for magic, description in _MAGIC:
        if head.startswith(magic):
            return description
    if _HTML.match(head):
        return (
            "a web page, not a model: the download was answered by a page (login, licence or proxy); download it again"
        )
    if _JSON_MESSAGE.match(head):
        return "a text file (JSON), not a model: download the model file itself"
    return None


def has_magic(path: Path, magic: bytes) -> bool:
    """Whether the file starts with `magic`."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def human_bytes(count: int) -> str:
    """Decimal size for people: '14.3 GB', '254 MB', '1.2 kB'."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    digits = 0 if unit == "bytes" or size >= 100 else 1
    return f"{size:.{digits}f} {unit}"


def shorten(value: object) -> str:
    """A value from a file, or an error's text, short enough for a sentence."""
    text = repr(value) if not isinstance(value, Exception) else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
