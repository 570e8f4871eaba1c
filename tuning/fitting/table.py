"""What trains on which card: the table of docs/training.md."""

from __future__ import annotations

from typing import NamedTuple

from ...common.families import WAN_2_1, WAN_2_2_5B
from ...common.shapes import VideoShape
from ...dit.presets import PRESETS
from ...engine.tasks import smaller_videos
from ...memory.budget import GB, LEAVE_FREE_BYTES, gigabytes
from ...model_loading.footprint import bytes_before_download
from ..learner import OptimiserSettings
from ..new_adapter import AdapterSettings
from .footprint import StepShape
from .plan import Clips, PlannedStep, TrainingPlan, plan_for, seen_as
from .settings import TrainingMemory

CARDS_GB = (6, 8, 12, 16, 24)
_ANY_RAM = 1 << 50
_PICTURE, _SQUARE = VideoShape(1, 720, 1280), VideoShape(81, 512, 512)
_480P, _720P, _704P = VideoShape(81, 480, 832), VideoShape(81, 720, 1280), VideoShape(121, 704, 1280)


class TrainedModel(NamedTuple):
    """A published model, as which presets call it, and how its file is stored (see `model_loading.footprint`)."""

    title: str
    preset: str
    storage: str
    video: VideoShape


ROWS = tuple(
    TrainedModel(title, preset, storage, video)
    for title, preset, storages, videos in (
        ("T2V 1.3B", "t2v-1.3B", ("bf16",), (_SQUARE, _480P, _720P)),
        ("TI2V 5B", "ti2v-5B", ("bf16", "fp8"), (_SQUARE, _704P)),
        ("T2V 14B", "t2v-14B", ("bf16", "fp8", "Q4_K_M"), (_PICTURE, _SQUARE, _480P)),
        ("T2V 14B", "t2v-14B", ("fp8",), (_720P,)),
        ("I2V 14B", "i2v-14B", ("fp8",), (_SQUARE, _480P)),
    )
    for storage in storages
    for video in videos
)


def table() -> str:
    """The table in Markdown, for a LoRA of rank 16: device memory, blocks swapped, inputs in RAM."""
    head = ["model", "stored as", "size", "at least", "RAM for that", *(f"{size} GB" for size in CARDS_GB)]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        least = planned_row(row, 0)
        ram = least.choice.footprint.pinned_bytes + least.choice.way.host_bytes
        size = f"{row.video.width} x {row.video.height}, {row.video.frames}"
        cells = [_cell(row, size_gb * GB - LEAVE_FREE_BYTES) for size_gb in CARDS_GB]
        lines.append([row.title, row.storage, size, gigabytes(least.device_bytes), gigabytes(ram), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def planned_row(row: TrainedModel, limit: int, video: VideoShape | None = None) -> TrainingPlan:
    """How a row is trained within so many bytes of a device."""
    config = PRESETS[row.preset]
    family = WAN_2_2_5B if row.preset == "ti2v-5B" else WAN_2_1
    clips = Clips(video or row.video)
    weights = bytes_before_download(config, row.storage)
    step = StepShape(config, seen_as(family, clips), weights, AdapterSettings())
    planned = PlannedStep(family, step, OptimiserSettings(), clips)
    return plan_for(planned, TrainingMemory(), limit, _ANY_RAM)


def _cell(row: TrainedModel, limit: int) -> str:
    made = planned_row(row, limit)
    if made.fits:
        return _words(made)
    multiple = made.planned.family.size_multiple
    fitting = smaller_videos(row.video, multiple, lambda video: planned_row(row, limit, video).fits)
    longest = next((each for each in fitting if "frames" in each), "")
    return longest.removeprefix("at most ") or "-"


def _words(made: TrainingPlan) -> str:
    blocks = len(made.choice.task.block_bytes)
    words = [f"swap {made.choice.swapped} of {blocks}"] if made.choice.swapped else []
    words += [f"{made.in_ram} inputs"] if made.in_ram else []
    words += ["in parts"] if made.part_checkpoints else []
    return ", ".join(words) or "all on it"
