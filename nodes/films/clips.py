"""The clips of a film, as the nodes for one clip would make them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...common.checking import has_values, instance_of
from ...common.records import record
from ...common.shapes import VideoShape
from ...engine.films.shape import FilmShape, check_start
from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ...media.pictures import clean_clip, fit_pictures
from ...sampling.validation import MAX_SEED
from ..conditioning.keys import UNWRITTEN
from ..hosts.host import host
from ..sockets.latents import decodable
from ..sockets.models import WanTextEncoder
from ..sockets.sampling import sampled
from ..text import encoded_prompts
from ..video import decoded_frames
from .cast import FilmCast


@record(eq=False)
class FilmPrompts:
    """The encoded prompts of a film.

    Attributes:
        lines: of the clips in order; the last one counts for all that follow.
        encoded: the CONDITIONING of each line.
        negative: of all clips.
    """

    lines: tuple[str, ...]
    encoded: Mapping[str, list]
    negative: list

    def sides(self, clip: int) -> tuple[list, list]:
        """Both CONDITIONINGs of a clip."""
        return self.encoded[self.lines[min(clip, len(self.lines) - 1)]], self.negative


def encode_film(text_encoder: Any, lines: Sequence[str], negative: str, memory: MemorySettings | None) -> FilmPrompts:
    """The prompts of a film, each different line encoded once, and kept without the zeros that fill it up."""
    different = tuple(dict.fromkeys(lines))
    is_ours = isinstance(text_encoder, WanTextEncoder)
    encoded = {}
    for line in (*different, negative):
        (made,) = encoded_prompts(text_encoder, (line,), memory)
        encoded[line] = _without_zeros(made) if is_ours else made
    return FilmPrompts(tuple(lines), encoded, encoded[negative])


@record(eq=False)
class FilmClips:
    """See `engine.films.film.ClipMaker`.

    Attributes:
        cast: the models.
        prompts: what they are asked for.
        shape: how many clips there are.
        video: the size of each.
        start: the frames that the first clip begins with; None where it is free.
        ends: [n, H, W, 3], the last frames of the first n clips; None where all are free.
        settings: of the first clip; each other one has a seed one higher than the clip before.
        memory: how much of the device to use.
    """

    cast: FilmCast
    prompts: FilmPrompts
    shape: FilmShape
    video: VideoShape
    start: Tensor | None
    ends: Tensor | None
    settings: SamplerSettings
    memory: MemorySettings

    def decisive(self, clip: int) -> Any:
        texts = [[(embedding, UNWRITTEN in values) for embedding, values in side] for side in self.prompts.sides(clip)]
        start = None if clip else self.start
        ways = (self.memory.vae, self.memory.strips, self.memory.feed_forward_run)
        given = start, self._end(clip)
        return self.cast.identity(clip), texts, self.video, given, self._settings(clip), ways

    def frames(self, clip: int, given: Tensor | None) -> Generator[Tensor, None, None]:
        model, vae = self.cast.model_of(clip), self.cast.vae
        with host().runtime.at(f"clip {clip + 1} of {self.shape.clips}"):
            given = given if clip else self.start
            *sides, latent = self.cast.prepare(clip, self.prompts.sides(clip), self.video, given, self._end(clip))
            made, _ = sampled(model, (sides[0], sides[1]), latent, self._settings(clip), self.memory)
            with contextlib.closing(decoded_frames(vae, decodable(vae, made))) as frames:
                yield from frames

    def _end(self, clip: int) -> Tensor | None:
        """The last frame of a clip, [1, H, W, 3]; None where it is free."""
        return None if self.ends is None or clip >= len(self.ends) else self.ends[clip : clip + 1]

    def _settings(self, clip: int) -> SamplerSettings:
        return replace(self.settings, seed=(self.settings.seed + clip) % (MAX_SEED + 1))


def checked_settings(seed: int, steps: int, cfg: float, shift: float, solver: str, schedule: str) -> SamplerSettings:
    """The settings of the first clip.

    Raises:
        InvalidInputError: nothing can be sampled with them.
    """
    settings = SamplerSettings(seed, steps, cfg, shift, solver, schedule)
    settings.find_solver()
    settings.noise_schedule()
    return settings


def checked_memory(memory: Any | None) -> MemorySettings:
    """What came from Wan Memory, if anything did.

    Raises:
        InvalidInputError: it is something else.
    """
    if memory is None:
        return AUTOMATIC
    instance_of(memory, MemorySettings, "memory", "the settings of Wan Memory")
    return memory


def start_frames(images: Any | None, video: VideoShape) -> Tensor | None:
    """The start image, or the frames of a clip to go on from, at the size of a film: [n, H, W, 3] in 0..1.

    Raises:
        InvalidInputError: they are no pictures, or leave nothing new in the first clip.
    """
    if images is None:
        return None
    frames = clean_clip(images, "start_image")
    check_start(len(frames), video.frames)
    return fit_pictures(frames, video.width, video.height, "crop")


def end_frames(images: Any | None, video: VideoShape) -> Tensor | None:
    """The pictures that clips end with, at the size of a film: [n, H, W, 3] in 0..1.

    Raises:
        InvalidInputError: they are no pictures.
    """
    if images is None:
        return None
    return fit_pictures(clean_clip(images, "end_images"), video.width, video.height, "crop")


def _without_zeros(conditioning: list) -> list:
    """Of a film of many prompts the zeros would be most of it: 8 MB for each line."""
    shorter = []
    for embedding, values in conditioning:
        if has_values(embedding):
            used = embedding.ne(0).any(dim=0).any(dim=-1).nonzero()  # the numbers of the rows that say something
            embedding = embedding[:, : int(used.max()) + 1 if len(used) else 1].clone()
        shorter.append([embedding, values])
    return shorter
