"""The plan of a training in words, and the tables of what runs and trains on which card."""

from __future__ import annotations

from .....memory.budget import GB, gigabytes
from .....tuning.fitting.plan import TrainingPlan
from .....tuning.fitting.samples import SamplesPlan
from .....tuning.fitting.table import table as training_table
from ....planning.table import table as running_table


def table_of(kind: str) -> str:
    """What runs on which card, or trains."""
    return training_table() if kind == "training" else running_table()


def plan_words(made: TrainingPlan, samples: SamplesPlan | None, models: int) -> str:
    """Its largest step part by part, what was chosen, and what its samples take; `models`: how many learn in turn."""
    video, count = made.planned.clips.video, made.planned.clips.count
    limit = "no limit" if made.limit is None else f"{gigabytes(made.limit)} may be used"
    what = "clip" if video.frames > 1 else "picture"
    several = f"{count} {what}s" if count > 1 else f"a {what}"
    length = f"{video.frames} frames, " if video.frames > 1 else ""
    lines = [
        f"The largest step: {several} of {length}{video.width} x {video.height} pixels; {limit}.",
        "",
        *(f"{size / GB:8.2f} GB  {name}" for name, size in made.parts),
        f"{made.device_bytes / GB:8.2f} GB  on the device at most",
        "",
        made.words,
        _ram(made),
        *([samples.words] if samples else []),
        *(["Two experts learn one after the other: one of them is on the device at a time."] if models > 1 else []),
    ]
    return "\n".join(lines)


def _ram(made: TrainingPlan) -> str:
    footprint, inputs = made.choice.footprint, made.choice.way.host_bytes
    line = (
        f"RAM: {gigabytes(footprint.pinned_bytes + inputs)} for swapped blocks and inputs; "
        f"{gigabytes(made.choice.copied_bytes + 2 * inputs)} cross the bus in each step"
    )
    from_file = footprint.file_bytes
    return line + (f"; {gigabytes(from_file)} are read from the file, twice in each step." if from_file else ".")
