"""Processes on this machine that make the same run, one on each device: the first starts the others and ends them.

They are copies of one command. Only what the first one writes is kept.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from ..common.errors import InvalidInputError, SharingError
from ..common.log import logger
from ..dit.sharing import ONE_DEVICE, Sharing
from .exchange import DistributedGroup
from .sharing import ManyDevices

VARIABLE = "WAN_DIRECTOR_RANK"
"""Tells a process its seat; the pack sets it for those that it starts."""
_PACK = Path(__file__).absolute().parents[1]
_LOOPBACK = {"darwin": "lo0", "win32": ""}
"""What systems call the interface by which processes of one machine speak; others call it lo."""
_STEP = timedelta(hours=6)
"""How long one waits for another in a step, which takes as long as a step does."""
_LAST_WORDS_S = 10.0
"""How long a process that has broken off has to end and say why."""


class Seat(NamedTuple):
    """Of a process among `ranks` of them: its number, and the file by which they find each other."""

    rank: int
    ranks: int
    meeting: Path

    def __str__(self) -> str:
        return f"{self.rank}/{self.ranks} {self.meeting}"


def given_seat(environment: Mapping[str, str] = os.environ) -> Seat | None:
    """The seat of this process, if another one has started it to share a run."""
    said = environment.get(VARIABLE)
    if said is None:
        return None
    numbers, _, meeting = said.partition(" ")
    rank, _, ranks = numbers.partition("/")
    return Seat(int(rank), int(ranks), Path(meeting))


def count_devices(wanted: str, device: str) -> int:
    """How many devices a user wants: a number, or all GPUs.

    Args:
        device: see `engine.local.LocalRuntime`.

    Raises:
        InvalidInputError: there are not so many, or it is no number.
    """
    is_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if device not in ("auto", "cuda", "cpu"):
        raise InvalidInputError(f"--gpus takes the first GPUs and --device {device} names one. Leave one of them out.")
    there = 1 if is_cpu else torch.cuda.device_count()
    if wanted == "all":
        return there
    if not wanted.isdecimal() or int(wanted) < 1:
        raise InvalidInputError(f"--gpus takes a number of GPUs or all, got {wanted!r}.")
    if int(wanted) > there and not is_cpu:
        raise InvalidInputError(f"{wanted} GPUs are wanted, and {there} can be used here. Use --gpus {there} or all.")
    return int(wanted)


def device_of(rank: int, device: str) -> str:
    """The device of one process, by the one that a user has chosen for all."""
    return f"cuda:{rank}" if device != "cpu" and torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def joined(seat: Seat, device: str, why_broken: Callable[[], str] = str) -> Iterator[ManyDevices]:
    """Inside, this process shares its runs with the others.

    Args:
        why_broken: see `ManyDevices`.

    Raises:
        SharingError: they do not come.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK.get(sys.platform, "lo"))
    try:
        backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
        address = seat.meeting.absolute().as_uri()
        dist.init_process_group(backend, init_method=address, rank=seat.rank, world_size=seat.ranks, timeout=_STEP)
    except RuntimeError as error:
        raise SharingError(why_broken() or f"The {seat.ranks} processes of the run did not find each other.") from error
    group, threads = DistributedGroup(), torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(max(1, threads // seat.ranks))
    try:
        yield ManyDevices(group, why_broken)
    finally:
        torch.set_num_threads(threads)
        group.leave()
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


@dataclass(slots=True)
class Whys:
    """Says why a process that shares the run has ended.

    Attributes:
        processes: those that were started, in order; what they say goes into files of the folder.
    """

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    folder: Path = Path()

    def __call__(self) -> str:
        """A sentence; nothing where none has ended."""
        until = time.monotonic() + _LAST_WORDS_S
        while self.processes and time.monotonic() < until:
            for rank, process in enumerate(self.processes, start=1):
                if process.poll() not in (None, 0):
                    why = last_words(self.folder / f"{rank}.log", process.returncode)
                    return f"Device {rank} of {len(self.processes) + 1} has ended: {why}"
            time.sleep(0.05)
        return ""


def last_words(log: Path, code: int) -> str:
    """Why a process has ended that wrote its errors into a file: its last sentence, or its exit code."""
    if code < 0:
        return f"with exit code {code}."
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = next((line for line in reversed(lines) if line.startswith("wan-director: ")), lines[-1] if lines else "")
    return said.removeprefix("wan-director: ") or f"with exit code {code}."


@contextlib.contextmanager
def sharing(words: Sequence[str], ranks: int, device: str) -> Iterator[Sharing]:
    """Inside, so many processes make the run of this one; one alone is no different from none.

    Args:
        words: of the command that this process carries out.
    """
    if ranks == 1:
        yield ONE_DEVICE
        return
    with tempfile.TemporaryDirectory(prefix="wan-director-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        seat, whys = Seat(0, ranks, folder / "meeting"), Whys(folder=folder)
        try:
            for rank in range(1, ranks):
                whys.processes.append(_start(words, seat._replace(rank=rank), folder))
            logger.info("%d processes share the run.", ranks)
            with joined(seat, device, whys) as shared:
                yield shared
        finally:
            _end(whys.processes)


def _start(words: Sequence[str], seat: Seat, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(_PACK), *words, "--quiet", "--output", str(folder / f"output_{seat.rank}")]
    with open(folder / f"{seat.rank}.log", "wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, VARIABLE: str(seat)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the first one, which ends the others
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends those that have not ended by themselves; when all goes well they are as far as the first one."""
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if sys.exc_info()[0] else 2)
        process.kill()
        process.wait()
