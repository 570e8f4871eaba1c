"""The node that brings the colours of pictures to those of others.

Source: ComfyUI v0.33.0, comfy_extras/nodes_post_processing.py, ColorTransfer. The space of colours is that of our *Wan
Match Colour*, whose constants are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .....common.checking import has_values
from .....media.colours import lab_to_rgb, rgb_to_lab
from .....media.pictures import clean_clip
from .... import standin as io
from ....hosts.host import host
from ..dynamic_inputs import Choice, Choosing

_LEAST = 1e-6
_LEVELS = 256
MOST_FRAMES = 10_000


class _Method(NamedTuple):
    """How colours are matched, in a space of [..., 3] values.

    Attributes:
        to, back: into that space, and out of it.
        measure: of frames, each [H, W, 3] in that space.
        change: values that were measured so, to such as would be measured otherwise.
    """

    to: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]
    measure: Callable[[Iterable[Tensor]], Any]
    change: Callable[[Tensor, Any, Any], Tensor]


class ColorTransfer(io.ComfyNode):
    """Pictures in the colours of others."""

    @classmethod
    def define_schema(cls) -> Any:
        index = io.Int.Input("target_index", default=0, min=0, max=MOST_FRAMES)
        return io.Schema(
            node_id="ColorTransfer",
            display_name="Transfer Color",
            category="image/filters",
            inputs=[
                io.Image.Input("image_target"),
                io.Image.Input("image_ref"),
                io.Combo.Input("method", options=list(_METHODS)),
                Choosing(
                    "source_stats", [Choice("per_frame", []), Choice("uniform", []), Choice("target_frame", [index])]
                ),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(
        cls, image_target: Tensor, image_ref: Tensor, method: str, source_stats: dict, strength: float = 1.0
    ) -> Any:
        if strength == 0:
            return io.NodeOutput(image_target)
        frames, reference = clean_clip(image_target, "image_target"), clean_clip(image_ref, "image_ref")
        if not (has_values(frames) and has_values(reference)):
            return io.NodeOutput(frames)
        how, scope = _METHODS[method], source_stats["source_stats"]
        wanted = how.measure(map(how.to, reference))
        only = min(source_stats.get("target_index", 0), len(frames) - 1)
        measured = {"uniform": frames, "target_frame": frames[only : only + 1]}.get(scope)
        common = None if measured is None else how.measure(map(how.to, measured))
        made = torch.empty_like(frames, memory_format=torch.contiguous_format)
        for number, frame in enumerate(frames):
            host().runtime.check_interrupt()
            values = how.to(frame)
            own = how.measure([values]) if common is None else common
            if common is None and len(reference) > 1:
                wanted = how.measure([how.to(reference[min(number, len(reference) - 1)])])
            made[number] = how.back(values.lerp(how.change(values, own, wanted), strength)).clamp(0, 1)
        return io.NodeOutput(made)


def _mean_and_covariance(frames: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """[3] and [3, 3], float64."""
    total, products, pixels = torch.zeros(3).double(), torch.zeros(3, 3).double(), 0
    for frame in frames:
        values = frame.double().flatten(0, 1)
        total += values.sum(0)
        products += values.T @ values
        pixels += len(values)
    mean = total / pixels
    return mean, products / pixels - mean[:, None] * mean


def _reinhard(values: Tensor, own: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
    deviation, to_deviation = (each[1].diagonal().clamp(min=0).sqrt().clamp(min=_LEAST) for each in (own, wanted))
    return (values - own[0].float()) * (to_deviation / deviation).float() + wanted[0].float()


def _mkl(values: Tensor, own: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
    """By the linear change that moves the colours least (Monge and Kantorovich)."""
    roots, axes = torch.linalg.eigh(own[1])
    roots = roots.clamp(min=0).sqrt().clamp(min=_LEAST)
    spread = axes * roots
    inner_roots, inner_axes = torch.linalg.eigh(spread.T @ wanted[1] @ spread)
    half = (inner_axes * inner_roots.clamp(min=0).sqrt()) @ inner_axes.T
    gathered = axes / roots
    change = (gathered @ half @ gathered.T).float()
    return (values - own[0].float()) @ change.T + wanted[0].float()


def _levels_of(values: Tensor) -> Tensor:
    return (values * (_LEVELS - 1)).long().clamp(0, _LEVELS - 1)


def _shares_below(frames: Iterable[Tensor]) -> Tensor:
    """The share of values up to each level, by channel [3, 256]."""
    counts = torch.zeros(3, _LEVELS).double()
    for frame in frames:
        channels = _levels_of(frame).flatten(0, 1).unbind(1)
        counts += torch.stack([torch.bincount(channel, minlength=_LEVELS) for channel in channels])
    return (counts.cumsum(1) / counts.sum(1, keepdim=True)).float()


def _histogram(values: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
    table = torch.searchsorted(wanted, own).clamp(max=_LEVELS - 1).float() / (_LEVELS - 1)
    return torch.stack([each[level] for each, level in zip(table, _levels_of(values).unbind(-1))], dim=-1)


_METHODS = {
    "reinhard_lab": _Method(rgb_to_lab, lab_to_rgb, _mean_and_covariance, _reinhard),
    "mkl_lab": _Method(rgb_to_lab, lab_to_rgb, _mean_and_covariance, _mkl),
    "histogram": _Method(lambda frame: frame, lambda frame: frame, _shares_below, _histogram),
}
