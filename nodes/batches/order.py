"""Which prompts make which batch, and the node that puts their videos back into the order of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...common.checking import instance_of
from ...common.errors import InvalidInputError
from ...common.records import record
from ..api import io, one_sentence
from ..image import CATEGORY
from ..sockets.latents import video_samples

BatchOrderType = io.Custom("WAN_DIRECTOR_BATCH_ORDER")


@record
class BatchOrder:
    """Prompts in batches.

    Attributes:
        prompts: in their order.
        batches: the numbers of each batch's prompts, from 0.
    """

    prompts: tuple[str, ...]
    batches: tuple[tuple[int, ...], ...]

    def __deepcopy__(self, _memo: dict) -> BatchOrder:
        return self


class WanDirectorUnbatch(io.ComfyNode):
    """A latent for each prompt, in the order of the prompts."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorUnbatch",
            display_name="Wan Unbatch",
            category=CATEGORY,
            description="Takes the batches of Wan Batch Prompts apart again: a list with the latent of each prompt, in "
            "the order of the lines. What is connected behind it runs once for each.",
            search_aliases=["unbatch", "latent list", "split batch", "LatentFromBatch", "batch to list"],
            is_input_list=True,
            inputs=[
                io.Latent.Input("latents", tooltip="From Wan Sampler (or KSampler) behind Wan Batch Prompts."),
                BatchOrderType.Input("order", tooltip="The order of Wan Batch Prompts."),
            ],
            outputs=[
                listed(io.Latent, "LATENT", "The latent of each prompt, for Wan Decode To Video or Wan Decode Video."),
                listed(io.String, "prompt", "The prompt of each, for a file name or a note."),
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, latents: list[Any], order: list[Any]) -> Any:
        instance_of(order[0] if order else None, BatchOrder, "order", "the order of Wan Batch Prompts")
        found: BatchOrder = order[0]
        return io.NodeOutput(in_order(latents, found), list(found.prompts))


def in_order(latents: Sequence[dict[str, Any]], order: BatchOrder) -> list[dict[str, Any]]:
    """One native LATENT for each prompt, from those of the batches.

    Raises:
        InvalidInputError: they are not the latents of these batches.
    """
    counts = [len(video_samples(latent)) for latent in latents]
    expected = [len(members) for members in order.batches]
    if counts != expected:
        raise InvalidInputError(
            f"Wan Batch Prompts made batches of {_listing(expected)} videos, and latents of {_listing(counts)} came "
            "back. Connect the sampler that its outputs go to."
        )
    alone: dict[int, dict[str, Any]] = {}
    for latent, members in zip(latents, order.batches):
        for place, number in enumerate(members):
            alone[number] = _part(latent, place, len(members))
    return [alone[number] for number in range(len(order.prompts))]


def _part(latent: dict[str, Any], place: int, count: int) -> dict[str, Any]:
    """One video of a batch, with what else there is of it alone."""
    part = dict(latent)
    for key, value in latent.items():
        is_of_each = (isinstance(value, Tensor) and value.ndim == 5) or key == "batch_index"
        if is_of_each and len(value) == count:
            part[key] = value[place : place + 1]
    return part


def _listing(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts)) if counts else "no"


def listed(kind: Any, name: str, tooltip: str) -> Any:
    """An output of a socket type that is a list: what is connected behind it runs once for each value."""
    return kind.Output(display_name=name, tooltip=tooltip, is_output_list=True)
