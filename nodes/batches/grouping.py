"""Lines of prompts in batches of one shape: their texts as one CONDITIONING, and a blank LATENT for each batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.buckets import Batch, Bucket, batch_size, batches
from ...common.errors import InvalidInputError, WanDirectorError
from ...common.shapes import MAX_BATCH, VideoShape
from ..conditioning.keys import OF_THE_EMBEDDING, UNWRITTEN
from ..sockets.latents import check_video_size, empty_latent, family_of
from .lines import PromptLine


def grouped(lines: tuple[PromptLine, ...], vae: Any, usual: VideoShape, most: int) -> tuple[Batch[Bucket], ...]:
    """The lines in batches of one shape, each with the tokens of `most` usual videos at most.

    Raises:
        InvalidInputError: a size that cannot be made, with the number of its line, if that says it; or a line says more
            than a size.
    """
    family = family_of(vae)
    if any(line.size is None for line in lines):
        check_video_size(usual.width, usual.height, None, family)
    if any(line.frames is None for line in lines):
        check_video_size(None, None, usual.frames, family)
    buckets = []
    for line in lines:
        if line.pictures or line.values:
            said = line.pictures[0] if line.pictures else line.values[0]
            raise InvalidInputError(
                f"Line {line.number} of the prompts names '{said[:40]}', and a batch takes prompts and sizes alone. "
                "Remove it; the command line reads such lines with run --prompts FILE."
            )
        shape = line.shape(usual)
        try:
            check_video_size(shape.width, shape.height, shape.frames, family)
        except WanDirectorError as error:
            raise InvalidInputError(f"Line {line.number} of the prompts: {error}") from None
        buckets.append(Bucket(shape.width, shape.height, shape.frames))
    stride = family.spatial_stride
    budget = most * Bucket(usual.width, usual.height, usual.frames).tokens(stride)
    return batches(buckets, lambda bucket: min(MAX_BATCH, batch_size(bucket.tokens(stride), budget)))


def joined(conditionings: list[list]) -> list:
    """One native CONDITIONING whose texts are those of several, one for each video of a batch.

    Raises:
        InvalidInputError: one has not exactly one entry.
    """
    for conditioning in conditionings:
        if len(conditioning) != 1:
            raise InvalidInputError(
                f"A prompt of a batch is encoded as one text, got {len(conditioning)}. Use a CLIP without hooks."
            )
    entries = [conditioning[0] for conditioning in conditionings]
    longest = max(embedding.shape[1] for embedding, _ in entries)
    texts = torch.cat([_padded(embedding, longest) for embedding, _ in entries])
    values = {key: value for key, value in entries[0][1].items() if key not in OF_THE_EMBEDDING or value is None}
    if not all(UNWRITTEN in each for _, each in entries):
        values.pop(UNWRITTEN, None)
    return [[texts, values]]


def _padded(embedding: Tensor, tokens: int) -> Tensor:
    """A text [1, L, width] with zeros behind it, as the model fills one up itself."""
    return F.pad(embedding, (0, 0, 0, tokens - embedding.shape[1]))


def batch_latent(vae: Any, batch: Batch[Bucket]) -> dict[str, Any]:
    """A blank latent; each video starts from the noise of its line's number, however the batches fall."""
    size = batch.bucket
    latent = empty_latent(vae, size.width, size.height, size.frames, len(batch.members))
    return {**latent, "batch_index": list(batch.members)}
