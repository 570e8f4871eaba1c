"""Getting a missing model file: the sentence that says where it is published, and the download itself."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..common.errors import CheckpointError, DownloadError, MissingFileError, MissingPackageError
from ..common.log import logger
from .checkpoint import human_bytes, open_checkpoint
from .known_files import FOLDERS, KNOWN_FILES, FileKind, KnownFile, known_file

Fetch = Callable[[str, str, Path], Path]
"""Fetches (repo, path in repo) into a folder and returns where the file lies; see `fetch_from_hub`."""

_RESERVE_BYTES = 1_000_000_000
_PARTIAL_FOLDER = ".wan_director_download"


def find_file(name: str, kind: FileKind, folders: Iterable[str | Path]) -> Path:
    """The model file or folder called `name` in one of `folders`.

    Raises:
        MissingFileError: it is in none; the message says where to get it and where to put it.
    """
    folders = [Path(folder) for folder in folders]
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    if found is None:
        raise MissingFileError(missing_file_sentence(name, kind, folders))
    return found


def missing_file_sentence(name: str, kind: FileKind, folders: Iterable[str | Path] = ()) -> str:
    """Which file is missing, where to get it and where to put it."""
    places = [str(folder) for folder in folders] or [FOLDERS[kind]]
    file = known_file(name)
    if file is None:
        usual = ", ".join(known.name for known in KNOWN_FILES if known.kind == kind)
        return f"{name} is not in {places[0]}. Put it there, or choose another file; the usual ones are {usual}."
    return (
        f"{name} ({file.what}, {human_bytes(file.size_bytes)}) is missing. Get {file.path_in_repo} from {file.repo} on "
        f"the Hugging Face Hub and put it into {places[0]}, or run: wan-director download {name}"
    )


def download(file: KnownFile, folder: str | Path, *, fetch: Fetch | None = None) -> Path:
    """Downloads a known file into `folder`, whole or not at all; resumes an interrupted download.

    Two processes may ask for the same file: the second waits and finds it there.

    Args:
        fetch: does the transfer; by default huggingface_hub.

    Raises:
        DownloadError: no space, no network, no permission, or what came is not the file.
        MissingPackageError: huggingface_hub is not installed.
    """
    folder = Path(folder)
    target = folder / file.name
    if target.exists():
        return target
    _require_space(file, folder)
    partial = folder / _PARTIAL_FOLDER / file.name
    with _named_failures(file, folder):
        partial.mkdir(parents=True, exist_ok=True)
        with _lock(partial.with_name(f"{file.name}.lock"), file):
            if target.exists():  # another process was faster
                return target
            logger.info("Downloading %s (%s) from %s.", file.name, human_bytes(file.size_bytes), file.repo)
            arrived = (fetch or fetch_from_hub)(file.repo, file.path_in_repo, partial)
            _require_whole(file, arrived)
            os.replace(arrived, target)
            shutil.rmtree(partial, ignore_errors=True)  # the lock stays: others may be waiting for it
    return target


def fetch_from_hub(repo: str, path_in_repo: str, folder: Path) -> Path:
    """Fetches one file with huggingface_hub, which locks, resumes, and checks the size."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise _missing_hub(repo, path_in_repo) from None
    return Path(hf_hub_download(repo, path_in_repo, local_dir=folder))


def _lock(path: Path, file: KnownFile) -> AbstractContextManager[object]:
    """Holds off other processes; the system lets go of it when a process dies."""
    try:
        from filelock import FileLock  # huggingface_hub brings it
    except ImportError:
        raise _missing_hub(file.repo, file.path_in_repo) from None
    return FileLock(path)


def _missing_hub(repo: str, path_in_repo: str) -> MissingPackageError:
    return MissingPackageError(
        f"huggingface_hub is not installed, which downloads need. Install it (pip install huggingface_hub), or get "
        f"{path_in_repo} from {repo} on the Hugging Face Hub by hand."
    )


def _require_space(file: KnownFile, folder: Path) -> None:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < file.size_bytes + _RESERVE_BYTES:
        raise DownloadError(
            f"{file.name} needs {human_bytes(file.size_bytes + _RESERVE_BYTES)} on the disk of {folder}, which has "
            f"{human_bytes(free)} free. Make room, or use a folder on another disk."
        )


def _require_whole(file: KnownFile, arrived: Path) -> None:
    """What came must be a sound model file: proxies and full disks answer with pages and stumps."""
    try:
        open_checkpoint(arrived)
    except CheckpointError as error:
        arrived.unlink(missing_ok=True)
        raise DownloadError(f"The download of {file.name} failed: {error}") from None


@contextmanager
def _named_failures(file: KnownFile, folder: Path) -> Iterator[None]:
    """Turns what a transfer can raise into one sentence that names the cause and the next step."""
    try:
        yield
    except (DownloadError, MissingPackageError):
        raise
    except Exception as error:  # a border: hub, HTTP and TLS libraries of any version raise their own kinds
        raise DownloadError(_sentence(error, file, folder)) from error


# By class name, because the classes live in packages whose versions differ; the first that fits names the cause.
_CAUSES = (
    (
        ("GatedRepoError",),
        "{repo} asks for its licence to be accepted: accept it on its page, then set HF_TOKEN to your access token",
    ),
    (
        ("OfflineModeIsEnabled",),
        "offline mode is on (HF_HUB_OFFLINE): switch it off, or put the file into {folder} by hand",
    ),
    (("ProxyError",), "the proxy refused the connection: check HTTPS_PROXY, or get the file by hand from {repo}"),
    (("SSLError", "SSLCertVerificationError"), "the connection is not trusted (TLS): check the proxy and the clock"),
    (
        ("LocalEntryNotFoundError", "ConnectionError", "ConnectError", "Timeout", "TimeoutException", "NetworkError"),
        "there is no connection to the Hugging Face Hub: check the network, then run it again (it resumes)",
    ),
    (("RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError"), "{repo} does not have it any more"),
)
_CAUSES_BY_STATUS = {
    401: "the Hugging Face Hub refused the access token: set HF_TOKEN to a valid one, or unset it",
    403: "the Hugging Face Hub refused access to {repo}: accept its licence on its page and set HF_TOKEN",
    404: "{repo} does not have it any more",
    429: "the Hugging Face Hub asks to slow down: wait some minutes, then run it again (it resumes)",
}


def _sentence(error: Exception, file: KnownFile, folder: Path) -> str:
    cause = _cause(error).format(repo=file.repo, folder=folder)
    return f"{file.name} could not be downloaded: {cause}."


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk of {folder} is full: make room, then run it again (it resumes)"
    if isinstance(error, PermissionError):
        return "{folder} cannot be written to: check its permissions"
    if type(error).__name__ == "LocalEntryNotFoundError" and isinstance(error.__cause__, Exception):
        return _cause(error.__cause__)  # "not in the cache either": why not online is what matters
    names = {kind.__name__ for kind in type(error).__mro__}
    for kinds, cause in _CAUSES:
        if names.intersection(kinds):
            return cause
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _CAUSES_BY_STATUS:
        return _CAUSES_BY_STATUS[status]
    return f"the transfer failed ({type(error).__name__}): run it again (it resumes)"
