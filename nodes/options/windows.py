"""The node that cuts videos into windows, for any length in the memory of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ...common.checking import check_number
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_FRAMES, TEMPORAL_STRIDE
from ...dit.branches.vace import VaceBranch
from ...engine.models import VideoModel, with_policies
from ...engine.sampling.policies import StepPolicies
from ...sampling.validation import find_choice
from ...sampling.windows import BLENDS, NOISES, PLACINGS, WHOLE_CLIP, SlidingWindows, SpatialTiles, Windows
from ..api import ADVANCED, io, one_sentence
from ..loaders import WanModelType


class WanDirectorWindows(io.ComfyNode):
    """Videos of a model are made in windows that overlap."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorWindows",
            display_name="Wan Windows",
            category="Wan Director/options",
            description="Videos longer than the model was trained for: it sees a window of frames at a time, and "
            "windows that overlap are blended in every step. Memory is that of one window. A video that is no longer "
            "than a window stays as it is.",
            search_aliases=[
                "context windows", "WanContextWindowsManual", "context options", "sliding window", "freenoise",
                "long video", "longer", "context schedule",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA or Wan Two Experts."),
                io.Int.Input(
                    "frames",
                    default=81,
                    min=1,
                    max=MAX_FRAMES,
                    step=4,
                    tooltip="Frames of a window, 1 + 4k: what the model was trained for, 81, or 121 for TI2V-5B.",
                ),
                io.Int.Input(
                    "overlap",
                    default=32,
                    min=0,
                    max=MAX_FRAMES,
                    step=4,
                    tooltip="Frames that a window shares with the next, in fours. More is smoother and slower.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=list(PLACINGS),
                    default="static",
                    tooltip="static: windows stand at the same places in all steps. moving: elsewhere in each step, so "
                    "that no frame is always at an edge; a step cache then spares less.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(BLENDS),
                    default="pyramid",
                    tooltip="How windows are mixed where they overlap. pyramid: the nearer to its middle, the more a "
                    "window counts. linear: a ramp over the overlap alone.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(NOISES),
                    default="repeated",
                    tooltip="repeated: windows start from the same noise in another order, so that they lay out the "
                    "same picture. fresh: each from its own; what is to stay still may move.",
                ),
                *_rare_widgets(),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: VideoModel,
        frames: int,
        overlap: int,
        schedule: str,
        blend: str,
        noise: str,
        from_sigma: float = 1.0,
        keep_first_frame: bool = False,
        frame_before: bool = False,
    ) -> Any:
        windows = ByFrames(frames, overlap, schedule, blend, noise, from_sigma).windows(keep_first_frame, frame_before)
        changed = with_windows(model, windows)
        if keep_first_frame:
            _tell_of_first_frame(model)
        return io.NodeOutput(changed)


def _rare_widgets() -> list[Any]:
    return [
        io.Float.Input(
            "from_sigma",
            optional=True,
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.001,
            tooltip="Above this noise level the whole video is seen at once, which takes the memory of all of it; "
            "0.8 lays it out as a whole. 1: windows in all steps.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "keep_first_frame",
            optional=True,
            default=False,
            tooltip="Image to video: the start image stands at the beginning of every window, not of the first alone. "
            "Keeps the subject, and can make motion begin anew in each.",
            **ADVANCED,
        ),
        io.Boolean.Input(
            "frame_before",
            optional=True,
            default=False,
            tooltip="Windows after the first see four frames more before them, which do not count: a first latent "
            "frame is one frame alone to the model.",
            **ADVANCED,
        ),
    ]


def _tell_of_first_frame(model: VideoModel) -> None:
    """Says where nothing is given that could stand at the beginning of every window."""
    config = model.spec.config
    takes_frames = config.image_channels and not config.source_channels and not config.has_mask_alone
    if takes_frames or config.branch(VaceBranch) is not None:
        return
    why = "takes no start image"
    if model.spec.family.given_in_latent and not config.source_channels:
        why = "has its start image in the latent, where it stands at the beginning of the video alone"
    logger.warning("keep_first_frame changes nothing: %s (%s) %s.", model.file, model.spec.title, why)


class ByFrames(NamedTuple):
    """What the widgets say of windows, in frames."""

    frames: int
    overlap: int
    schedule: str
    blend: str
    noise: str
    from_sigma: float

    def windows(self, keeps_first: bool, sees_one_before: bool) -> SlidingWindows:
        """The same in latent frames.

        Raises:
            InvalidInputError: a widget's value cannot work.
        """
        for name in ("frames", "overlap", "from_sigma"):
            check_number(getattr(self, name), name)
        placing = find_choice(PLACINGS, self.schedule, "schedule of windows")
        blend = find_choice(BLENDS, self.blend, "blend of windows")
        noising = find_choice(NOISES, self.noise, "noise of windows")
        if self.frames < 1 or self.overlap < 0 or self.frames % TEMPORAL_STRIDE != 1:
            lower = max(1, self.frames - (self.frames - 1) % TEMPORAL_STRIDE)
            raise InvalidInputError(
                f"A window has 1 + 4k frames and shares 0 or more with the next, got {self.frames} and {self.overlap}. "
                f"Use {lower} or {lower + TEMPORAL_STRIDE} frames."
            )
        if not 0.0 <= self.from_sigma <= 1.0:
            raise InvalidInputError(
                f"from_sigma is a noise level from 0 to 1 (off), got {self.from_sigma:g}. 0.8 lays out the whole video."
            )
        size, overlap = 1 + (self.frames - 1) // TEMPORAL_STRIDE, self.overlap // TEMPORAL_STRIDE
        if overlap >= size:
            raise InvalidInputError(
                f"Windows of {self.frames} frames cannot share {self.overlap} frames with the next. Use an overlap of "
                f"at most {TEMPORAL_STRIDE * (size - 1)}."
            )
        return SlidingWindows(size, overlap, placing, blend, noising, self.from_sigma, sees_one_before, keeps_first)


def with_windows(model: VideoModel, windows: SlidingWindows) -> VideoModel:
    """The model that sees its videos in windows.

    Raises:
        InvalidInputError: it does so already.
    """
    if windows_of(model) != WHOLE_CLIP:
        raise InvalidInputError(f"{model.file} comes with windows already, and a run has one kind. Take one node out.")

    def seen(policies: StepPolicies) -> StepPolicies:
        tiles = policies.windows
        over_time = replace(tiles, over_time=windows) if isinstance(tiles, SpatialTiles) else windows
        return replace(policies, windows=over_time)

    return with_policies(model, seen)


def windows_of(model: VideoModel) -> Windows:
    """The windows in time that a model comes with, whether there are tiles or not."""
    windows = model.policies.windows
    return windows.over_time if isinstance(windows, SpatialTiles) else windows
