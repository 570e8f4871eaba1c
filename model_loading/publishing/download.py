"""Downloading a published model file: whole and verified, or not at all; an interrupted download is resumed.

The Hub's own library is not used for it: a new process of its version 2.4 begins at byte 0, and a file that was cut
short in its cache is handed out for good. A sound copy in that cache is taken.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ...common.errors import CheckpointError, DownloadError
from ...common.log import logger
from ..files.file_type import human_bytes
from ..files.safetensors_file import SafetensorsFile
from .causes import NO_LENGTH, OFFLINE, TransferError, of_disk
from .hub import cached_copies, file_url, is_offline, token
from .known_files import KnownFile
from .lock import locked
from .transfer import OnBytes, ask, transfer

RESERVE_BYTES = 1_000_000_000
"""That stay free on a disk after a download."""
_HASH_BYTES = 1 << 22


class _Wanted(NamedTuple):
    """What the file must be. `mark` tells its versions apart; None where nothing does."""

    size_bytes: int
    sha256: str | None
    mark: str | None


def download(file: KnownFile, folder: str | Path, *, on_bytes: OnBytes = lambda _done, _all: None) -> Path:
    """Downloads a known file into `folder`, and gives its path; what lies there already is verified.

    Two processes may ask for the same file: the second waits and finds it there. What is here of an interrupted
    download lies beside the target in a file that ends in `.part`.

    Args:
        on_bytes: told of the progress.

    Raises:
        DownloadError: no space, no network, no permission, what came is not the file, or another file has its name.
    """
    folder = Path(folder)
    target = folder / file.name
    with _named_failures(file, folder):
        if target.is_dir():
            raise DownloadError(f"{target} is a folder, where the file {file.name} belongs: move it away.")
        if _lies_there(file, target):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{file.name}.lock", lambda: _tell_waiting(file)):
            if target.is_file() and _unsound(target) is None:  # another process was faster
                return target
            part = _fetched(file, folder, on_bytes)
            os.replace(part, target)
    return target


def fault_of(file: KnownFile, path: Path) -> str | None:
    """Why what lies under a file's name is not the file, as far as header and size tell; None where it may be."""
    fault = _unsound(path)
    if fault is not None or file.sha256 is None:
        return fault
    size = path.stat().st_size
    return None if size == file.size_bytes else f"it has {size:,} bytes instead of {file.size_bytes:,}"


def begun_bytes(file: KnownFile, folder: Path) -> int:
    """How many bytes of a file lie in a folder from downloads that were interrupted."""
    try:
        return max((part.stat().st_size for part in folder.glob(f"{glob.escape(file.name)}.*.part")), default=0)
    except OSError:
        return 0


def published_size(file: KnownFile) -> int | None:
    """The bytes of a file, as the server announces them.

    Raises:
        TransferError: nobody can be asked.
        DownloadError: the settings of the Hub are wrong.
    """
    if is_offline():
        raise TransferError(OFFLINE)
    return ask(file_url(file), token()).size_bytes


def _tell_waiting(file: KnownFile) -> None:
    logger.info("Another process is downloading %s: waiting for it.", file.name)


def _lies_there(file: KnownFile, target: Path) -> bool:
    """Whether the target is the published file. One that is cut short or no model at all may be replaced.

    Raises:
        DownloadError: it is a model file, but not this one.
    """
    if not target.is_file():
        return False
    fault = _unsound(target)
    if fault is not None:
        logger.info("In %s lies a file that cannot be used: %s", target.parent, fault)
        return False
    logger.info("%s is there; its contents are compared with the published file.", target)
    if file.sha256 is not None and _difference(target, _known(file)) is None:
        return True
    difference = "its contents differ (sha256)" if file.sha256 else None
    try:
        difference = _difference(target, _published(file))
    except TransferError:  # nobody to ask
        logger.info("What %s publishes now cannot be asked.", file.repo)
    if difference is not None:
        raise DownloadError(
            f"{target} is a model file, but not the one that {file.repo} publishes: {difference}. It is damaged or "
            "another version: rename or delete it, then download it again."
        )
    return True


def _known(file: KnownFile) -> _Wanted:
    """What this version of the pack knows of a file."""
    return _Wanted(file.size_bytes, file.sha256, file.sha256)


def _published(file: KnownFile) -> _Wanted:
    """What is published now.

    Raises:
        TransferError: nobody can be asked, or the server does not say.
        DownloadError: what it announces cannot be the file.
    """
    if is_offline():
        raise TransferError(OFFLINE)
    published, expected = ask(file_url(file), token()), file.size_bytes
    if published.size_bytes is None and file.sha256 is None:
        raise TransferError(NO_LENGTH)
    size = expected if published.size_bytes is None else published.size_bytes
    # Without a sha256 the size is that of the weights, or about that: enough to tell a page or another model.
    is_likely = size == expected if _is_the_known_one(file, published.sha256) else 0.25 < size / (expected or size) < 4
    if not is_likely:
        raise DownloadError(
            f"{file.name} could not be downloaded: the server offers {size:,} bytes, and the file has about "
            f"{expected:,}. Check HF_ENDPOINT and the proxy, or get the file by hand from {file.repo}."
        )
    if file.sha256 and published.sha256 not in (None, file.sha256):
        logger.warning("%s has replaced %s since this version of Wan Director.", file.repo, file.name)
    sha256 = published.sha256 or file.sha256
    return _Wanted(size, sha256, sha256 or published.mark)


def _is_the_known_one(file: KnownFile, published: str | None) -> bool:
    return file.sha256 is not None and published in (None, file.sha256)


def _fetched(file: KnownFile, folder: Path, on_bytes: OnBytes) -> Path:
    """A part file that is the whole file: from the Hub's cache, or from the Hub."""
    part = _from_cache(file, folder)
    if part is not None:
        return part
    wanted = _published(file)
    part = _part(file, folder, wanted)
    for try_again in (True, False):
        _transferred(file, part, wanted, on_bytes)
        difference = _difference(part, wanted) or _unsound(part)
        if difference is None:
            return part
        part.unlink()
        if try_again:
            logger.warning("What came of %s is damaged (%s): it is downloaded once more.", file.name, difference)
    raise DownloadError(
        f"The download of {file.name} failed twice: {difference}. Check the proxy and HF_ENDPOINT, or get the file by "
        f"hand from {file.repo}."
    )


def _part(file: KnownFile, folder: Path, wanted: _Wanted) -> Path:
    """Where the beginning of this version of the file lies; beginnings of other versions are swept away."""
    tag = hashlib.sha256((wanted.mark or "").encode()).hexdigest()[:8]
    part = folder / f"{file.name}.{tag}.part"
    for other in folder.glob(f"{glob.escape(file.name)}.*.part"):
        if other != part or other.is_symlink() or wanted.mark is None:
            other.unlink()
    return part


def _transferred(file: KnownFile, part: Path, wanted: _Wanted, on_bytes: OnBytes) -> None:
    have = part.stat().st_size if part.exists() else 0
    _require_space(file, part.parent, max(0, wanted.size_bytes - have))
    size = human_bytes(wanted.size_bytes)
    if have:
        logger.info(
            "Downloading the rest of %s from %s: %s of %s are here.", file.name, file.repo, human_bytes(have), size
        )
    else:
        logger.info("Downloading %s (%s) from %s.", file.name, size, file.repo)
    transfer(file_url(file), token(), part, wanted.size_bytes, on_bytes)
    with part.open("rb+") as written:
        os.fsync(written.fileno())


def _from_cache(file: KnownFile, folder: Path) -> Path | None:
    """A copy of the file in the Hub's cache, copied beside the target; None where there is no sound one."""
    for path, sha256 in cached_copies(file):
        wanted = _Wanted(file.size_bytes if file.sha256 else path.stat().st_size, file.sha256 or sha256, None)
        difference = _difference(path, wanted) or _unsound(path)
        if difference is not None:
            logger.warning("The copy of %s in the Hugging Face cache is not used: %s.", file.name, difference)
            continue
        _require_space(file, folder, wanted.size_bytes)
        logger.info("Copying %s from the Hugging Face cache.", file.name)
        part = folder / f"{file.name}.cached.part"
        part.unlink(missing_ok=True)
        shutil.copyfile(path, part)
        return part
    return None


def _require_space(file: KnownFile, folder: Path, missing_bytes: int) -> None:
    needed, free = missing_bytes + RESERVE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{file.name} needs {human_bytes(needed)} on the disk of {folder}, which has {human_bytes(free)} free. "
            "Make room, or use a folder on another disk."
        )


def _difference(path: Path, wanted: _Wanted) -> str | None:
    """How a file differs from what is wanted, in words; None when it does not."""
    size = path.stat().st_size
    if wanted.mark is None and wanted.sha256 is None:
        return None
    if size != wanted.size_bytes:
        return f"it has {size:,} bytes instead of {wanted.size_bytes:,}"
    if wanted.sha256 is not None and _sha256(path) != wanted.sha256:
        return "its contents differ (sha256)"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _unsound(path: Path) -> str | None:
    """What keeps a file from being a model file, judged by its header."""
    try:
        SafetensorsFile(path)  # not by its name, which a part has not got yet
    except CheckpointError as error:
        return str(error)
    return None


@contextmanager
def _named_failures(file: KnownFile, folder: Path) -> Iterator[None]:
    """Turns what a transfer can raise into one sentence that names the cause and the next step."""
    try:
        yield
    except TransferError as error:
        cause = str(error)
    except OSError as error:
        cause = of_disk(error)
    else:
        return
    host = urlsplit(file_url(file)).hostname
    cause = cause.format(repo=file.repo, folder=folder, host=host)
    raise DownloadError(f"{file.name} could not be downloaded: {cause}.")
