"""The node that lets a causal model make a video chunk by chunk."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ...common.checking import check_count, check_number, instance_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.models import VideoModel, with_policies
from ...sampling.causal.order import AT_ONCE, ChunkByChunk
from ..api import ADVANCED, io, one_sentence
from ..loaders import WanModelType
from ..sockets.models import WanModel

MOST_CHUNK_FRAMES = 64
MOST_FRAMES = 4096
_FRAMEWISE = re.compile(r"frame[-_. ]?wise", re.IGNORECASE)
_CHUNKWISE = re.compile(r"chunk[-_. ]?wise|self[-_. ]?forcing|krea[-_. ]?realtime|longlive", re.IGNORECASE)


class WanDirectorCausal(io.ComfyNode):
    """A video is made chunk after chunk, each of which sees the ones before."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorCausal",
            display_name="Wan Causal",
            category="Wan Director/options",
            description="For causal models (Causal Forcing, Self Forcing, krea-realtime): the video is made chunk by "
            "chunk, and the model remembers the ones before. Videos may be of any length; with a window the memory "
            "stays the same. Official settings: steps 4, cfg 1, shift 5, solver lcm, schedule simple.",
            search_aliases=[
                "causal forcing", "self forcing", "causvid", "krea realtime", "longlive", "autoregressive",
                "SamplerARVideo", "ar video", "kv cache", "streaming", "framewise", "chunkwise", "rolling",
                "long video", "wan causal",
            ],
            inputs=[
                WanModelType.Input("model", tooltip="A causal model, from Load Wan Model or Wan LoRA."),
                io.Int.Input(
                    "chunk_frames",
                    default=1,
                    min=1,
                    max=MOST_CHUNK_FRAMES,
                    tooltip="Latent frames that are made at once, as the model was trained: 1 for framewise models, 3 "
                    "for chunkwise ones, Self Forcing and krea-realtime. A latent frame is 4 frames of the video.",
                ),
                io.Int.Input(
                    "window_frames",
                    default=0,
                    min=0,
                    max=MOST_FRAMES,
                    tooltip="Latent frames that a chunk sees at most, its own among them; older ones are forgotten. 0: "
                    "all. Models were trained with 21: use no more for videos of more than 81 frames.",
                ),
                io.Int.Input(
                    "sink_frames",
                    default=0,
                    min=0,
                    max=MOST_FRAMES,
                    tooltip="The first latent frames of the video, which are never forgotten: they hold on to the "
                    "subject in long videos, and motion may come back to them. Part of the window.",
                ),
                io.Float.Input(
                    "context_noise",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="The noise level that the model is told of when it looks at a finished chunk. 0, as all "
                    "published models have it.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls, model: WanModel, chunk_frames: int, window_frames: int, sink_frames: int, context_noise: float = 0.0
    ) -> Any:
        instance_of(model, WanModel, "model", "a model of Load Wan Model")
        values = {"chunk_frames": chunk_frames, "window_frames": window_frames, "sink_frames": sink_frames}
        for name, value in values.items():
            check_count(value, name, "Usual are 1 or 3 chunk_frames, and 0 for the others.")
        check_number(context_noise, "context_noise")
        changed = with_order(model, ChunkByChunk(**values, context_noise=context_noise))
        _tell_of_chunks(model, chunk_frames)
        return io.NodeOutput(changed)


def with_order(model: VideoModel, order: ChunkByChunk) -> VideoModel:
    """The model that makes its videos in this order.

    Raises:
        InvalidInputError: it has one already.
    """
    if model.policies.order != AT_ONCE:
        raise InvalidInputError(
            f"{model.file} goes chunk by chunk already, and a run has one order. Take one Wan Causal out."
        )
    return with_policies(model, lambda policies: replace(policies, order=order))


def _tell_of_chunks(model: VideoModel, frames: int) -> None:
    """Says where a model's name tells of chunks of another size."""
    name = model.spec.path.stem
    usual = 1 if _FRAMEWISE.search(name) else 3 if _CHUNKWISE.search(name) else frames
    if frames != usual:
        logger.warning(
            "%s was by its name trained on chunks of %d latent frame%s, and gets chunks of %d: motion may fall apart. "
            "Set chunk_frames to %d.", model.file, usual, "s" * (usual > 1), frames, usual,
        )  # fmt: skip
