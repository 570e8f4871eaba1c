"""The folder that all machines of a cluster share: input files by their contents, results, saved states, tokens."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..common.errors import InvalidInputError, MissingFileError, OutputError
from ..media.whole import files_to_disk, remove_leftovers, replace_file, unfinished_file, unfinished_folder
from .jobs import ResultFile

_DIGEST, _ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{16}")
_PIECE = 1 << 20
_RESERVE_BYTES = 500_000_000
"""What is left free on the disk: the results have to go there, too."""


class QueueTokens(NamedTuple):
    """What one shows to be let in: those who ask for videos, and those who make them."""

    asking: str
    working: str


def checked_name(name: str) -> str:
    """The name of an input file or a result: a path inside a folder, with forward slashes.

    Raises:
        InvalidInputError: it is none.
    """
    parts = name.split("/")
    is_plain = all(part and part not in (".", "..") and part.isprintable() for part in parts)
    if not is_plain or len(name) > 240 or re.search(r'[\\:*?"<>|]', name):
        raise InvalidInputError(
            f"{name[:80]!r} cannot be the name of a file of a job. Use letters, digits and forward slashes, with no "
            "folder that leads out."
        )
    return name


class SharedFolder:
    """See the module; every path in it is made of a digest, an id or a checked name."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def queue(self) -> Path:
        """The queue's file; it may lie on the disk of the server alone."""
        return self.path / "queue.sqlite"

    @property
    def states(self) -> Path:
        """Where runs wait that were broken off."""
        return self.path / "states"

    def tokens(self) -> QueueTokens:
        """Those of this folder, made where there are none; who can read the folder's owner's files has them.

        Raises:
            OutputError: they cannot be read or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return QueueTokens(self._token("token"), self._token("worker_token"))
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(
                f"The tokens in {self.path} cannot be read or written ({reason}). Check the folder."
            ) from None

    def file(self, digest: str) -> Path:
        """Where the input file of a digest lies.

        Raises:
            InvalidInputError: it is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidInputError("A file is named by the sha256 of its contents, 64 digits from 0 to f.")
        return self.path / "files" / digest[:2] / digest

    def add_file(self, digest: str, size: int, read: Callable[[int], bytes]) -> None:
        """Keeps an input file.

        Args:
            digest: of its contents, which are compared with it.
            size: in bytes.
            read: gives the next bytes, at most so many.

        Raises:
            InvalidInputError: the contents are others, or end too early.
            OutputError: the disk is full.
        """
        target = self.file(digest)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target.parent)
            if shutil.disk_usage(target.parent).free < size + _RESERVE_BYTES:
                raise OutputError(f"The disk of the queue has no room for {size:,} bytes. Make room on it.")
            with unfinished_file(target.parent, "file") as part:
                if _copied(read, size, part) != digest:
                    raise InvalidInputError("What has arrived is not what the digest says. Send the file again.")
                replace_file(part, target)
        except OSError as error:
            raise OutputError(f"The file could not be kept ({error.strerror or error}).") from None

    def results(self, id: str) -> Path:
        """Where the results of a job lie, once they are all there."""
        return self.path / "results" / _checked_id(id)

    def result(self, id: str, name: str) -> Path:
        """One of them; raises as `checked_name`."""
        return self.results(id) / checked_name(name)

    @contextlib.contextmanager
    def unfinished(self) -> Iterator[Path]:
        """An empty folder for results until they are published; gone at the end."""
        parts = self.path / "results"
        parts.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parts)
        with unfinished_folder(parts) as part:
            yield part

    def publish(self, id: str, part: Path) -> list[ResultFile]:
        """Puts results into their place, all at once; where an other worker was faster, its results stay.

        Raises:
            OutputError: the disk is full.
        """
        target = self.results(id)
        try:
            for folder in (part, *(each for each in part.rglob("*") if each.is_dir())):
                files_to_disk(folder)
            if not target.is_dir():
                with contextlib.suppress(FileExistsError):
                    _renamed(part, target)
            return described(target)
        except OSError as error:
            raise OutputError(f"The results could not be kept ({error.strerror or error}).") from None

    def preview(self, id: str) -> Path:
        """A picture of a job under way."""
        return self.path / "previews" / f"{_checked_id(id)}.jpg"

    def show(self, id: str, picture: bytes) -> None:
        """Puts the picture of a job under way into its place; one that cannot be shown is no harm."""
        target = self.preview(id)
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_suffix(f".{secrets.token_hex(4)}.part")
            part.write_bytes(picture)
            os.replace(part, target)

    def remove(self, id: str) -> None:
        """Removes all that belongs to a job."""
        shutil.rmtree(self.results(id), ignore_errors=True)
        self.preview(id).unlink(missing_ok=True)

    def unused(self, is_used: Callable[[str], bool], older_than_s: float) -> Iterator[Path]:
        """The input files that no job needs and that have lain there for so long."""
        before_s = time.time() - older_than_s
        for file in (self.path / "files").glob("??/*"):
            with contextlib.suppress(OSError):  # another has removed it
                if _DIGEST.fullmatch(file.name) and file.stat().st_mtime < before_s and not is_used(file.name):
                    yield file

    def inputs(self, files: Mapping[str, str]) -> dict[str, Path]:
        """Where the input files of a job lie, by their names in its graph.

        Raises:
            MissingFileError: one is not there.
        """
        found = {checked_name(name): self.file(digest) for name, digest in files.items()}
        missing = next((name for name, path in found.items() if not path.is_file()), None)
        if missing is not None:
            raise MissingFileError(f"The input file {missing} of the job is not there any more. Submit the job anew.")
        return found

    def _token(self, name: str) -> str:
        path = self.path / name
        if not path.exists():
            part = path.with_suffix(f".{secrets.token_hex(4)}")
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
            os.replace(part, path)
        return path.read_text(encoding="ascii").strip()


def described(folder: Path) -> list[ResultFile]:
    """The files in a folder, by name."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return [ResultFile(file.relative_to(folder).as_posix(), file.stat().st_size, digest_of(file)) for file in files]


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return hasher.hexdigest()


def _copied(read: Callable[[int], bytes], size: int, part: Path) -> str:
    hasher, left = hashlib.sha256(), size
    with part.open("wb") as file:
        while left and (piece := read(min(_PIECE, left))):
            hasher.update(piece)
            file.write(piece)
            left -= len(piece)
    return "" if left else hasher.hexdigest()


def _checked_id(id: str) -> str:
    if not _ID.fullmatch(id):
        raise InvalidInputError("A job is named by 16 digits from 0 to f.")
    return id


def _renamed(part: Path, target: Path) -> None:
    try:
        os.rename(part, target)
    except OSError:
        if not target.is_dir():
            raise
        raise FileExistsError(target) from None
