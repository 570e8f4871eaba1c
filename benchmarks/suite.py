"""The rows of a benchmark: which part, at which size, and what it has to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from wan_director.common.shapes import VideoShape
from wan_director.dit.presets import PRESETS

from . import contests
from .contests import Contest, Place


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `target` is the least speedup, or the largest part of the peer's memory; None: no promise."""

    part: str
    size: str
    make: Callable[[Place], Contest]
    target: float | None = None


SMALLEST_DIT_SPEEDUP = 1.0
SMALLEST_DECODE_SPEEDUP = 1.3
SMALLEST_TEXT_SPEEDUP = 4.0
LARGEST_DIT_MEMORY = 0.60
LARGEST_DECODE_MEMORY = 0.60
LARGEST_STRIPS_MEMORY = 0.30

MEMORY_SIZES = (VideoShape(81, 480, 832), VideoShape(81, 720, 1280))
TEXT_TOKENS = 128


def timing_rows(quick: bool) -> list[Row]:
    """What is timed on the CPU: a few seconds per run, less when `quick`."""
    layers = 1 if quick else 2
    dit_video = VideoShape(9 if quick else 21, 240, 416)
    vae_videos = (VideoShape(9, 64, 96),) if quick else (VideoShape(17, 96, 160), VideoShape(5, 240, 416))
    config = replace(PRESETS["t2v-1.3B"], layers=layers)
    text_size = f"{TEXT_TOKENS} tokens, {layers} of 24 layers"
    return [
        Row(
            f"DiT 1.3B, {layers} of 30 blocks",
            _video_size(dit_video),
            partial(contests.dit, config, dit_video),
            SMALLEST_DIT_SPEEDUP,
        ),
        *(
            Row("VAE decode", _video_size(video), partial(contests.vae_decode, video), SMALLEST_DECODE_SPEEDUP)
            for video in vae_videos
        ),
        *(Row("VAE encode", _video_size(video), partial(contests.vae_encode, video)) for video in vae_videos),
        Row(
            "UMT5-XXL beside transformers padded to 512",
            text_size,
            partial(contests.text_encoder, TEXT_TOKENS, layers),
            SMALLEST_TEXT_SPEEDUP,
        ),
        Row(
            "UMT5-XXL beside itself padded to 512",
            text_size,
            partial(contests.text_encoder_padding, TEXT_TOKENS, layers),
            SMALLEST_TEXT_SPEEDUP,
        ),
    ]


def memory_rows(quick: bool) -> list[Row]:
    """What is counted on the meta device; `quick` leaves out the larger video.

    Two blocks of a transformer have the peak of all of them: each frees what it made.
    """
    rows = []
    for video in MEMORY_SIZES[:1] if quick else MEMORY_SIZES:
        size = _video_size(video)
        for preset in ("t2v-1.3B", "t2v-14B"):
            config = replace(PRESETS[preset], layers=2)
            rows.append(Row(f"DiT {preset}", size, partial(contests.dit, config, video), LARGEST_DIT_MEMORY))
        rows += [
            Row(
                "VAE decode, frames handed on",
                size,
                partial(contests.vae_decode_stream, video),
                LARGEST_DECODE_MEMORY,
            ),
            Row("VAE decode, one tensor", size, partial(contests.vae_decode, video)),
            Row(
                "VAE decode, 2 strips",
                size,
                partial(contests.vae_decode_strips, video, 2),
                LARGEST_STRIPS_MEMORY,
            ),
            Row("VAE encode", size, partial(contests.vae_encode, video)),
            Row("VAE encode, 2 strips", size, partial(contests.vae_encode_strips, video, 2)),
        ]
    rows.append(Row("UMT5-XXL", f"{TEXT_TOKENS} tokens", partial(contests.text_encoder, TEXT_TOKENS, 24)))
    return rows


def _video_size(video: VideoShape) -> str:
    return f"{video.frames} frames {video.width}x{video.height}"
