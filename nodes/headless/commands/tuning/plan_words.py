"""A training planned for a machine or a card, and the plan in words."""

from __future__ import annotations

import argparse

import torch

from .....engine.local import LocalRuntime
from .....memory.budget import GB, gigabytes, parse_bytes
from .....memory.pinned import RAM_SHARE
from .....tuning.fitting.plan import PlannedStep, TrainingPlan, plan_for, plan_training
from .....tuning.fitting.samples import SamplesPlan
from .....tuning.fitting.settings import TrainingMemory


def planned_on(
    step: PlannedStep, memory: TrainingMemory, device: torch.device, options: argparse.Namespace
) -> TrainingPlan:
    """On this machine, or on a card that is named."""
    if options.vram is None:
        return plan_training(step, memory, device, LocalRuntime())
    vram, ram = parse_bytes(options.vram), None if options.ram is None else parse_bytes(options.ram)
    pinned = memory.pinned_bytes or (1 << 50 if ram is None else int(RAM_SHARE * ram))
    return plan_for(step, memory, memory.bytes.limit(vram), pinned)


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
