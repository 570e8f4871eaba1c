"""The folder in which runs that were broken off wait: found by their keys, and not for ever."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.memory.out_of_memory import is_out_of_memory
from ...common.records import record
from ...media.whole import remove_leftovers
from ...model_loading.files.file_type import human_bytes
from ...sampling.packing import pack, unpack
from .state_file import ENDING, Unusable, read, write

DAYS, LIMIT_BYTES = 7.0, 8_000_000_000
"""How long a file is kept when nobody comes back, and what all of them may take."""
RESERVE_BYTES = 500_000_000
"""What is left free on the disk: the result has to go there, too."""

_NAME = re.compile(rf"run-([0-9a-f]{{32}})(?:-([0-9]{{1,20}}))?\.{ENDING}")
"""Of a file: the two parts of its key, see `seeded`."""
_DAY_S = 24 * 3600


def seeded(digest: str, seed: int) -> str:
    """The key of what a digest of everything but the seed, and the seed, stand for."""
    return f"{digest}-{seed}"


class Kin(NamedTuple):
    """What was saved under a key that differs in its seed alone."""

    seed: int
    value: Any


class NotSaved(Exception):  # noqa: N818  (it says why, and is answered)
    """A state could not be written; the text says why."""


def size_of(value: Any, kinds: Iterable[type]) -> int:
    """Bytes of a value's tensors; 0 of one that cannot be saved."""
    try:
        return sum(tensor.nbytes for tensor in pack(value, kinds).values())
    except TypeError:
        return 0


@record
class StateFolder:
    """Values by keys, each in a file. Any number of processes may use one folder.

    Attributes:
        path: the folder; made when something is saved.
        days: how long a file is kept that nobody writes again.
        limit_bytes: what all files may take; the oldest go first.
        title: what a value is of, for people: "run".
    """

    path: Path
    days: float = DAYS
    limit_bytes: int = LIMIT_BYTES
    title: str = "run"

    def load(self, key: str, kinds: Iterable[type], device: torch.device) -> Any | None:
        """What was saved under a key; None where nothing was, or what is there cannot be used, which is said.

        Args:
            key: see `digest`.
            kinds: see `packing.unpack`.
            device: see there.
        """
        file = self._file(key)
        try:
            return unpack(read(file, key), kinds, device)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Unusable as error:
            reason = str(error)
        except InvalidInputError:
            reason = "does not hold what it should"
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = "does not fit into memory"
        logger.warning("This %s starts anew: its saved state %s %s. It will be replaced.", self.title, file, reason)
        return None

    def kin(self, key: str, kinds: Iterable[type]) -> Iterator[Kin]:
        """What was saved under keys that differ from this one in the seed alone, the newest first, on the CPU.

        What cannot be used is passed over.
        """
        own = key.split("-")[0]
        named = [(about.st_mtime, file, _NAME.fullmatch(file.name)) for file, about in self._files()]
        kin = [(age, file, int(name[2])) for age, file, name in named if name and name[1] == own and name[2]]
        for _, file, seed in sorted(kin, reverse=True):
            with contextlib.suppress(OSError, Unusable, InvalidInputError, MemoryError):
                if file != self._file(key):
                    yield Kin(seed, unpack(read(file, seeded(own, seed)), kinds, torch.device("cpu")))

    def save(self, key: str, value: Any, kinds: Iterable[type]) -> int:
        """Puts a value to disk under a key, in place of what was there; gives the file's size in bytes.

        Raises:
            NotSaved: there is no room, or the system refuses.
        """
        try:
            tensors = pack(value, kinds)
            size = sum(tensor.nbytes for tensor in tensors.values())
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_room(size)
            write(self._file(key), tensors, key)
            return size
        except OSError as error:
            reason = str(error.strerror or error)
        except (TypeError, KeyError) as error:
            reason = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = "there is not enough memory"
        raise NotSaved(reason)

    def forget(self, key: str) -> None:
        """Removes what was saved under a key, if anything was."""
        with contextlib.suppress(OSError):
            self._file(key).unlink()

    def tidy(self, *kept: str) -> int:
        """Removes files that are too old, and the oldest where all take too much; nothing but files of ours.

        Args:
            kept: the keys of files that stay in any case.

        Returns:
            The bytes of what stays.
        """
        remove_leftovers(self.path)
        staying = {self._file(key) for key in kept}
        files = sorted(self._files(), key=lambda each: each[1].st_mtime, reverse=True)
        total, oldest = 0, time.time() - self.days * _DAY_S
        for file, found in files:
            total += found.st_size
            if file not in staying and (found.st_mtime < oldest or total > self.limit_bytes):
                total -= found.st_size
                with contextlib.suppress(OSError):
                    file.unlink()
        return total

    def _check_room(self, size: int) -> None:
        if size > self.limit_bytes:
            limit = human_bytes(self.limit_bytes)
            raise NotSaved(f"it takes {human_bytes(size)}, and all kept {self.title}s together may take {limit}")
        free = shutil.disk_usage(self.path).free
        if free < size + RESERVE_BYTES:
            raise NotSaved(f"only {human_bytes(free)} are free on that disk")

    def _file(self, key: str) -> Path:
        return self.path / f"run-{key}.{ENDING}"

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        names: list[str] = []
        with contextlib.suppress(OSError):
            names = os.listdir(self.path)
        for file in (self.path / name for name in names if _NAME.fullmatch(name)):
            with contextlib.suppress(OSError):  # another process has removed it
                found = file.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield file, found
