"""What the models of a run see of the video at once: its windows, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from torch import Tensor

from ...common.families import Family
from ...common.log import logger
from ...common.records import record
from ...common.shapes import VideoShape, latent_frames, video_frames
from ...dit.conditioning.in_context import ContextSize, context_sizes
from ...dit.inputs import Conditioning
from ...sampling.cache import NO_CACHE
from ...sampling.experts import Expert
from ...sampling.step import NoiseLevel
from ...sampling.windows import ClipShape
from ..memory import RunWork
from ..models import VideoModel
from ..poses.counting import pose_videos
from .asked import Sides
from .experts import GuidedModel
from .policies import WHOLE_STEPS, StepPolicies


class Size(NamedTuple):
    """Latent frames, rows and columns."""

    frames: int
    height: int
    width: int

    def video(self, family: Family, references: int = 0) -> VideoShape:
        """The video of a latent of this size, less pictures before it."""
        stride = family.spatial_stride
        return VideoShape(video_frames(self.frames - references), self.height * stride, self.width * stride)


@record
class Steps:
    """The steps that one model of a run makes.

    Attributes:
        policies: of the model.
        levels: where the steps begin; none of a run without any.
        references: latent frames of pictures before the video.
        clips: that the model sees beside the video.
        questions: how many different ones they put, each of which a causal model remembers frames for.
        poses: how many pose videos go through the blocks beside it, see `pose_videos`.
        devices: that share the passes of a step.
    """

    policies: StepPolicies = WHOLE_STEPS
    levels: tuple[NoiseLevel, ...] = ()
    references: int = 0
    clips: tuple[ContextSize, ...] = ()
    questions: int = 1
    poses: int = 0
    devices: int = 1

    def beside(self, seen: Size, size: Size) -> int:
        """Tokens of the clips beside a window of a latent of this size."""
        return sum(clip.tokens(seen, size.frames) for clip in self.clips)

    def seen(self, size: Size) -> tuple[tuple[Size, ...], ...]:
        """Of each kind of step, the sizes of the windows of a latent of this size; at least one kind."""
        size = size._replace(frames=self.policies.order.frames_at_once(size.frames))
        clip, first = ClipShape(*size, self.references), NoiseLevel(0, 1, 1.0, 1000.0)
        steps = (self.policies.windows.cuts(clip, level) for level in self.levels or (first,))
        sizes = (tuple(Size(*cut.size(*size[1:])) for cut in cuts) for cuts in steps)
        return tuple(dict.fromkeys(sizes))

    def largest(self, size: Size) -> Size:
        """The most that a pass sees of a latent of this size."""
        return max((window for windows in self.seen(size) for window in windows), key=prod)

    def frames_in_time(self, size: Size) -> int:
        """Of a latent of this size the frames that the model knows of at once: those that it sees or remembers."""
        return max(self.largest(size).frames, self.policies.order.frames_kept(size.frames))

    def busiest(self, size: Size) -> tuple[Size, ...]:
        """The windows of the step that sees most of a latent of this size, what it sees twice counted twice."""
        return max(self.seen(size), key=lambda windows: sum(map(prod, windows)))


def steps_of(
    experts: Mapping[Expert, GuidedModel], makers: Sequence[Expert], levels: Sequence[NoiseLevel], sides: Sides
) -> dict[Expert, Steps]:
    """The steps of each model of a run that makes any.

    Args:
        makers: who makes each step.
        levels: where each begins.
        sides: the prompts.
    """
    prompts = [part.conditioning for side in sides.values() for part in side.parts]
    references, clips, poses = references_of(sides), clips_of(prompts), pose_videos(prompts)
    return {
        name: Steps(
            expert.model.policies,
            tuple(level for level, maker in zip(levels, makers) if maker == name),
            references,
            clips,
            len(
                {
                    part
                    for level, maker in zip(levels, makers)
                    if maker == name
                    for ask in expert.guidance.asks(level)
                    for part in sides[ask.side].asks(ask, level.sigma)
                }
            ),
            poses,
        )
        for name, expert in experts.items()
        if name in makers
    }


def references_of(sides: Sides) -> int:
    """Latent frames of pictures before the video."""
    return max((part.conditioning.references for side in sides.values() for part in side.parts), default=0)


def clips_of(prompts: Iterable[Conditioning]) -> tuple[ContextSize, ...]:
    """The clips beside the video, of the prompt that has the largest."""
    found = (context_sizes(prompt.in_context) for prompt in prompts)
    return max(found, key=lambda clips: sum(prod(clip[:3]) for clip in clips), default=())


def tell_sights(experts: Mapping[Expert, GuidedModel], steps: Mapping[Expert, Steps], latent: Tensor) -> None:
    """Says once how the video is cut, and warns of what lies later in time than any frame of the training.

    Args:
        latent: [B, C, T, h, w], of the video.
    """
    size, told = Size(*latent.shape[2:]), set[str]()
    for name, own in steps.items():
        windows, family = own.busiest(size), experts[name].model.spec.family
        video, seen = (each.video(family, own.references) for each in (size, max(windows, key=prod)))
        parts = RunWork(0, len(windows), seen).parts_of(video)
        if parts and parts not in told:
            logger.info("The video of %d frames is made in %s.", video.frames, parts)
        told.add(parts)
    _warn_of_no_windows(steps.values(), size)
    any(_warns_of_places(experts[name].model, own, size) for name, own in steps.items())  # the first one is enough
    any(_warns_of_moving(own, size) for own in steps.values())


def _warns_of_places(model: VideoModel, steps: Steps, size: Size) -> bool:
    """Tells of a video whose last frames lie later in time than any that the model was trained on; whether it did."""
    scale, shift = model.policies.places.scale[0], model.policies.places.shift[0]
    if (scale, shift) == (1.0, 0.0):
        return False
    last = shift + scale * (steps.frames_in_time(size) - 1)
    trained = latent_frames(model.spec.family.trained_frames) - 1
    if last <= trained:
        return False
    logger.warning(
        "With this motion the video ends at the time of latent frame %.1f, and the model was trained up to %d: motion "
        "may repeat or fall apart. Make a shorter video, or less motion.", last, trained,
    )  # fmt: skip
    return True


def _warn_of_no_windows(made: Iterable[Steps], size: Size) -> None:
    """Tells of windows that are for lower noise levels than any step begins at."""
    used = [own for own in made if own.levels]
    if any(_is_cut_in_time(own, size) for own in used):
        return
    at_the_end = (replace(own, levels=(NoiseLevel(0, 1, 0.0, 0.0),)) for own in used)
    if any(_is_cut_in_time(own, size) for own in at_the_end):
        logger.warning(
            "No step begins at a noise level low enough for windows (the lowest is %.2f): the video is seen as a "
            "whole, in the memory of all of it. Make more steps, or raise from_sigma.",
            min(level.sigma for own in used for level in own.levels),
        )


def _is_cut_in_time(steps: Steps, size: Size) -> bool:
    return any(window.frames < size.frames for windows in steps.seen(size) for window in windows)


def _warns_of_moving(steps: Steps, size: Size) -> bool:
    """Tells of a step cache that never finds the window of the step before; whether it did."""
    clip = ClipShape(*size, steps.references)
    cuts = [steps.policies.windows.cuts(clip, level) for level in steps.levels]
    if steps.policies.cache == NO_CACHE or all(set(now) == set(then) for now, then in zip(cuts[1:], cuts)):
        return False
    logger.warning(
        "The windows stand elsewhere in other steps, and the step cache compares each with itself in the step before: "
        "it spares less. Choose the schedule static to spare more."
    )
    return True
