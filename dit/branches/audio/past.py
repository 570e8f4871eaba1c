"""The frames before those of a chunk in Wan S2V, packed into few tokens: the further back, the fewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....common.errors import PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import size_text
from ...config import DiTConfig
from ...context import Context
from ...rope import rope_at
from ..branch import Branch, PassShape, Shapes, Steered, Trunk
from .beside import PAST, clean_before, role

PAST_FRAMES = 19
"""Latent frames before a chunk that the model looks at."""
LEAST_SIDE = 8
"""Rows and columns of a latent from which on every packing makes a token of it."""


class _Bucket(NamedTuple):
    """Latent frames that one convolution packs.

    Its name, how many there are, where in time its tokens stand, and how many times the usual latent frames, rows and
    columns one of them is made of.
    """

    name: str
    frames: int
    times: tuple[int, ...]
    spread: int

    @property
    def patch(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns of a token."""
        return self.spread, 2 * self.spread, 2 * self.spread


# Nearest first. The furthest lie five frames apart, as the official code has them, whose last falls on -4 and not -7.
_BUCKETS = (
    _Bucket("proj", 1, (-1,), 1),
    _Bucket("proj_2x", 2, (-3,), 2),
    _Bucket("proj_4x", 16, (-19, -14, -9, -4), 4),
)


@record
class PastBranch(Branch[DiTConfig]):
    """Tokens of the frames before.

    Attributes:
        channels: of the latent.

    Source: Zhang et al., "Packing input frame context in next-frame prediction models", arXiv 2504.12626;
        Wan-Video/Wan2.2 wan/modules/s2v/motioner.py, FramePackMotioner.
    """

    name = "s2v_past"
    roots = ("frame_packer",)
    words = "the frames before of S2V"
    adds_tokens = True

    channels: int = 16

    @classmethod
    def read(cls, tensors: Shapes) -> PastBranch | None:
        """See `Branch.read`."""
        return cls(tensors.size("frame_packer.proj.weight", 1)) if tensors.has("frame_packer.proj.weight") else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} is no speech-to-video model and does not go on from packed frames. Remove them, or "
            "choose ", *names.file("speech", "a Wan S2V model"), ".",
        )  # fmt: skip

    def tokens_before(self, shape: PassShape, given: int) -> int:
        """See `Branch.tokens_before`."""
        sides = shape.rows, shape.columns
        return sum(len(each.times) * _tokens(each, sides[0]) * _tokens(each, sides[1]) for each in _BUCKETS if given)

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        packers = {
            bucket.name: operations.Conv3d(self.channels, config.dim, kernel_size=bucket.patch, stride=bucket.patch)
            for bucket in _BUCKETS
        }
        return {"frame_packer": nn.ModuleDict(packers)}

    def check(self, given: Sequence[PastInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(
                f"There are {len(given)} clips to go on from, and the model takes one. Leave one of them."
            )
        for each in given:
            sizes = (self.channels, *latent.shape[-2:])
            if (each.latent.shape[1], *each.latent.shape[3:]) != sizes or len(each.latent) not in (1, len(latent)):
                raise PairingError(
                    f"The frames before were prepared for a latent of {size_text(each.latent)}, but the latent to "
                    f"sample has {size_text(latent)}. Prepare them for a video of the same size."
                )
            if min(latent.shape[-2:]) < LEAST_SIDE:
                raise PairingError(
                    f"The latent has {latent.shape[-1]} x {latent.shape[-2]} pixels, and frames before are packed from "
                    f"{LEAST_SIDE} x {LEAST_SIDE} on. Make a video of at least {8 * LEAST_SIDE} pixels a side."
                )

    def embed(self, trunk: Trunk, given: Sequence[PastInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        latent = given[-1].latent[:, :, -PAST_FRAMES:]
        latent = F.pad(latent, (0, 0, 0, 0, PAST_FRAMES - latent.shape[2], 0))
        rows, columns = (-(-side // 2) for side in latent.shape[-2:])
        packed, ropes, end = [], [], PAST_FRAMES
        for bucket in _BUCKETS:
            embedding = trunk.get_submodule(f"frame_packer.{bucket.name}")
            packed.append(trunk.tokens_of(embedding, latent[:, :, end - bucket.frames : end]))
            end -= bucket.frames
            places = torch.tensor(bucket.times), _places(bucket, rows), _places(bucket, columns)
            ropes.append(rope_at(2 * context.rope.shape[-1], places, tokens.device))
        added = torch.cat(packed, dim=1)
        return clean_before(trunk, tokens, context, added + role(trunk, PAST).to(added.dtype), torch.cat(ropes, dim=1))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        patches = sum(4 * bucket.spread**3 for bucket in _BUCKETS)
        return (patches * self.channels + len(_BUCKETS)) * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`; of a latent of 19 frames, which nothing tells here, those of the video."""
        return 4 * pixels * given * self.channels


class PastInput(NamedTuple):
    """The frames before a chunk: their normalised `latent` [1 or B, C, T, h, w], of which the last 19 count."""

    latent: Tensor

    @property
    def branch(self) -> type[PastBranch]:
        """The kind of branch it steers."""
        return PastBranch


def _tokens(bucket: _Bucket, side: int) -> int:
    """Along a side that has so many usual tokens."""
    return side // bucket.spread


def _places(bucket: _Bucket, side: int) -> Tensor:
    """Of the tokens along a side, on those of the video: whole ones, from the first to the last.

    By numpy, whose rounding the model was trained with.
    """
    return torch.from_numpy(np.linspace(0, side - 1, _tokens(bucket, side)).astype(int))
