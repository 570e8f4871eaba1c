"""How much RAM may still be used, and the refusal of what would not fit."""

from __future__ import annotations

from pathlib import Path

from ..errors import OutOfMemory
from ..places import Place

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")


def free_ram_bytes() -> int | None:
    """RAM that can be taken without swapping, within the limits of a container; None where that cannot be asked."""
    free = [bytes for bytes in (_of_the_machine(), _of_the_container()) if bytes is not None]
    return min(free, default=None)


def require_ram(wanted_bytes: int, what: str, *advice: str | Place) -> None:
    """Refuses what is larger than the free RAM; passes where that is not known.

    Args:
        wanted_bytes: how much `what` takes.
        what: the subject of the sentence, in the plural: "The 1800 frames of clip.mp4".
        advice: what to do instead, a sentence in parts.

    Raises:
        OutOfMemory: it does not fit.
    """
    free = free_ram_bytes()
    if free is not None and wanted_bytes > free:
        raise OutOfMemory(
            f"{what} take {wanted_bytes / 1e9:,.1f} GB of RAM, and {free / 1e9:,.1f} GB are free. ", *advice
        )


def _of_the_machine() -> int | None:
    try:
        import psutil
    except ImportError:
        return _from_meminfo()
    return psutil.virtual_memory().available


def _from_meminfo() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_the_container() -> int | None:
    try:
        limit = (_CONTAINER / "memory.max").read_text(encoding="ascii").strip()
        used = (_CONTAINER / "memory.current").read_text(encoding="ascii")
        statistics = (_CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # Pages of files count as used, but are given back under pressure.
    files = next((int(line.split()[1]) for line in statistics if line.startswith("inactive_file ")), 0)
    return max(0, int(limit) - int(used) + files)
