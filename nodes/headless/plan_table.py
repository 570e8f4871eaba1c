"""What runs on which card: the table of docs/cards.md."""

from __future__ import annotations

from typing import NamedTuple

from ...common.families import WAN_2_1, WAN_2_2_5B
from ...common.shapes import VideoShape
from ...dit.presets import PRESETS
from ...engine.tasks import decoding_task, latent_shape, sampling_task, smaller_videos
from ...memory.budget import GB, LEAVE_FREE_BYTES, example_card
from ...memory.plan import Choice, Task, plan, smallest_bytes
from ...model_loading.footprint import bytes_before_download
from ...model_loading.kinds import VAE
from .plan_files import facts_before_download

CARDS_GB = (6, 8, 12, 16, 24)
_480P, _720P, _704P = VideoShape(81, 480, 832), VideoShape(81, 720, 1280), VideoShape(121, 704, 1280)


class Row(NamedTuple):
    """A published model, as which presets call it, and how its file is stored (see `footprint.STORAGES`)."""

    title: str
    preset: str
    storage: str
    video: VideoShape


ROWS = tuple(
    Row(title, preset, storage, video)
    for title, preset, storages, videos in (
        ("T2V 1.3B", "t2v-1.3B", ("bf16",), (_480P, _720P)),
        ("VACE 1.3B", "vace-1.3B", ("bf16",), (_480P,)),
        ("TI2V 5B", "ti2v-5B", ("bf16", "fp8"), (_704P,)),
        ("T2V 14B", "t2v-14B", ("bf16", "fp8", "Q4_K_M"), (_480P, _720P)),
        ("I2V 14B", "i2v-14B", ("bf16", "fp8", "Q4_K_M"), (_480P, _720P)),
        ("VACE 14B", "vace-14B", ("bf16", "fp8"), (_480P, _720P)),
    )
    for storage in storages
    for video in videos
)


def table() -> str:
    """The table in Markdown. Numbers are blocks to swap, of so many as the model has."""
    head = ["model", "stored as", "size", "weights", *(f"{size} GB" for size in CARDS_GB)]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        weights = bytes_before_download(PRESETS[row.preset], row.storage)
        cells = [_cell(row, size * GB) for size in CARDS_GB]
        video = row.video
        size = f"{video.width} x {video.height}, {video.frames}"
        lines.append([row.title, row.storage, size, f"{weights.total / GB:.1f} GB", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, vram: int) -> str:
    limit = vram - LEAVE_FREE_BYTES
    card = example_card(vram)
    sampling, decoding = (plan(task, limit, card, pinned_bytes=1 << 50) for task in _tasks(row, row.video))
    if sampling is None or decoding is None:
        return _what_fits(row, limit)
    return _words(sampling)


def _words(choice: Choice) -> str:
    if not choice.swapped:
        return "all on it"
    slower = f", {choice.slowdown:.0%} slower" if choice.slowdown >= 0.005 else ""
    return f"swap {choice.swapped} of {len(choice.task.block_bytes)}{slower}"


def _what_fits(row: Row, limit: int) -> str:
    def fits(video: VideoShape) -> bool:
        return all(smallest_bytes(task) <= limit for task in _tasks(row, video))

    longest = next(iter(smaller_videos(row.video, 16, fits)), None)
    return longest.removeprefix("at most ") if longest and "frames" in longest else "-"


def _tasks(row: Row, video: VideoShape) -> tuple[Task, Task]:
    config = PRESETS[row.preset]
    family = WAN_2_2_5B if row.preset == "ti2v-5B" else WAN_2_1
    weights = bytes_before_download(config, row.storage)
    steering = {type(branch): 1 for branch in config.branches}
    sampling = sampling_task(weights, config, 1, latent_shape(family, video), passes=2, steering=steering, run=0)
    vae = facts_before_download(VAE, family.vae_file)
    return sampling, decoding_task(vae.weights, vae.config, video)
