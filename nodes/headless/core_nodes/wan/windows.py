"""ComfyUI's nodes that cut a video into windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from .....common.errors import InvalidInputError
from .....common.shapes import TEMPORAL_STRIDE
from .....sampling.validation import find_choice
from .....sampling.windows import SlidingWindows
from .....sampling.windows.blending import flat, from_middle, linear_from_zero, pyramid
from .....sampling.windows.placing import moving_starts, static_starts
from .....sampling.windows.repeated_noise import fresh_noise, repeated_noise
from .... import standin as io
from ....options.windows import with_windows
from ....sockets.native_model import NativeModel, native_model

_SCHEDULES = MappingProxyType({"standard_static": static_starts, "standard_uniform": moving_starts})
_OTHER_SCHEDULES = ("looped_uniform", "batched")
_BLENDS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"pyramid": pyramid, "relative": from_middle, "flat": flat, "overlap-linear": linear_from_zero}
)
_VIDEO_DIM = 2


class _Wished(NamedTuple):
    """What both nodes say; length and overlap in latent frames."""

    length: int
    overlap: int
    schedule: str
    stride: int
    closed_loop: bool
    blend: str
    is_repeated: bool
    splits: bool

    def windows(self, keeps_first: bool, sees_one_before: bool) -> SlidingWindows:
        """The same as ours.

        Raises:
            InvalidInputError: the command line has no such windows.
        """
        if self.schedule in _OTHER_SCHEDULES:
            raise InvalidInputError(
                f"The command line has no windows of the context_schedule '{self.schedule}'. Choose one of: "
                f"{', '.join(_SCHEDULES)}."
            )
        placing = find_choice(_SCHEDULES, self.schedule, "context_schedule")
        blend = find_choice(_BLENDS, self.blend, "fuse_method")
        if self.stride != 1 and placing is moving_starts:
            raise InvalidInputError(
                f"The command line has windows of neighbouring frames alone, got a context_stride of {self.stride}. "
                "Set it to 1."
            )
        if self.splits:
            raise InvalidInputError(
                "The command line does not give windows prompts of their own by split_conds_to_windows. Switch it off, "
                "or use Wan Prompt Travel."
            )
        noising = repeated_noise if self.is_repeated else fresh_noise
        windows = SlidingWindows(self.length, self.overlap, placing, blend, noising)
        return replace(windows, sees_one_before=sees_one_before, keeps_first=keeps_first)


def _widgets(schedule: str, **rare: Any) -> list[Any]:
    """Those that both nodes have, from the schedule to the blend; `rare` is what the canvas folds away."""
    return [
        io.Combo.Input(
            "context_schedule",
            options=[*_SCHEDULES, *_OTHER_SCHEDULES],
            default=schedule,
            tooltip="Where the windows stand in each step.",
        ),
        io.Int.Input("context_stride", default=1, min=1, **rare, tooltip="From one frame of a window to the next."),
        io.Boolean.Input("closed_loop", default=False, **rare, tooltip="Of schedules that loop, which are not here."),
        io.Combo.Input("fuse_method", options=list(_BLENDS), default="pyramid", tooltip="How windows are mixed."),
    ]


class ContextWindowsManual(io.ComfyNode):
    """A video is seen in windows of latent frames."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ContextWindowsManual",
            display_name="Context Windows (Manual)",
            category="model/patch",
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("context_length", default=16, min=1, tooltip="Latent frames of a window."),
                io.Int.Input("context_overlap", default=4, min=0, tooltip="Latent frames shared with the next."),
                *_widgets("standard_static"),
                io.Int.Input("dim", default=0, min=0, max=5, tooltip="2, the latent frames of a video."),
                io.Boolean.Input("freenoise", default=False, tooltip="Whether windows start from the same noise."),
                io.String.Input("cond_retain_index_list", default="", tooltip="0: the start image in each window."),
                io.Boolean.Input("split_conds_to_windows", default=False, tooltip="Not on the command line."),
                io.String.Input("latent_retain_index_list", default="", tooltip="Not on the command line."),
                io.Boolean.Input(
                    "causal_window_fix", default=True, tooltip="Whether later windows see the latent frame before them."
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        context_length: int,
        context_overlap: int,
        context_schedule: str,
        context_stride: int,
        closed_loop: bool,
        fuse_method: str,
        dim: int,
        freenoise: bool,
        cond_retain_index_list: str = "",
        split_conds_to_windows: bool = False,
        latent_retain_index_list: str = "",
        causal_window_fix: bool = True,
    ) -> Any:
        if dim != _VIDEO_DIM:
            raise InvalidInputError(f"The frames of a video's latent are dim {_VIDEO_DIM}, got {dim}. Set it so.")
        if _indices(latent_retain_index_list):
            raise InvalidInputError(
                f"The command line keeps no latent frames in each window, got latent_retain_index_list "
                f"'{latent_retain_index_list}'. Leave it empty."
            )
        kept = _indices(cond_retain_index_list)
        if kept not in ([], ["0"]):
            raise InvalidInputError(
                "The command line keeps the first frame alone in each window, got cond_retain_index_list "
                f"'{cond_retain_index_list}'. Use 0, or leave it empty."
            )
        wished = _Wished(
            context_length, context_overlap, context_schedule, context_stride, closed_loop, fuse_method, freenoise,
            split_conds_to_windows,
        )  # fmt: skip
        return io.NodeOutput(_in_windows(model, wished, bool(kept), causal_window_fix))


class WanContextWindowsManual(io.ComfyNode):
    """A video is seen in windows of frames."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanContextWindowsManual",
            display_name="Wan Context Windows",
            category="model/patch/wan",
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("context_length", default=81, min=1, max=16384, step=4, tooltip="Frames of a window."),
                io.Int.Input("context_overlap", default=30, min=0, tooltip="Frames shared with the next."),
                *_widgets("standard_uniform", advanced=True),
                io.Boolean.Input(
                    "freenoise", default=True, advanced=True, tooltip="Whether windows start from the same noise."
                ),
                io.Boolean.Input("retain_first_frame", default=False, tooltip="The start image in each window."),
                io.Boolean.Input(
                    "split_conds_to_windows", default=False, advanced=True, tooltip="Not on the command line."
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: NativeModel,
        context_length: int,
        context_overlap: int,
        context_schedule: str,
        context_stride: int,
        closed_loop: bool,
        fuse_method: str,
        freenoise: bool,
        retain_first_frame: bool = False,
        split_conds_to_windows: bool = False,
    ) -> Any:
        length, overlap = (context_length - 1) // TEMPORAL_STRIDE + 1, context_overlap // TEMPORAL_STRIDE
        wished = _Wished(
            length, overlap, context_schedule, context_stride, closed_loop, fuse_method, freenoise,
            split_conds_to_windows,
        )  # fmt: skip
        return io.NodeOutput(_in_windows(model, wished, retain_first_frame, sees_one_before=True))


def _in_windows(model: NativeModel, wished: _Wished, keeps_first: bool, sees_one_before: bool) -> NativeModel:
    model = native_model(model)
    return replace(model, model=with_windows(model.model, wished.windows(keeps_first, sees_one_before)))


def _indices(text: str) -> list[str]:
    """The numbers in a list of them."""
    return re.findall(r"-?\d+", text)
