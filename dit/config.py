"""Sizes of the Wan transformer: one frozen record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from ..common.records import record
from .branches.branch import Branch

PATCH = (1, 2, 2)
"""Latent frames, rows and columns that one token covers."""

BranchT = TypeVar("BranchT")


@record
class BlockPlace:
    """A block in the order of a pass: its official name, and the branch whose own it is, None of the trunk's.

    `index`: its number in the trunk, or that of the trunk's block it runs after.
    """

    name: str
    index: int
    branch: type[Branch[DiTConfig]] | None = None


@record
class DiTConfig:
    """Everything that fixes the shape of a Wan transformer.

    Attributes:
        dim: width of a token; `dim / heads` is the head width (128 in every published model) and must be even.
        ffn_dim: inner width of the feed-forward layers.
        in_channels: 16 for text to video, 36 = 16 + 4 mask + 16 image channels for image to video; 48 for TI2V-5B,
            which takes its first frame inside the latent. Some models of the Fun family have no mask (32), or a
            control video before it (48 without a mask, 52 with one). Lucy-Edit has 96: 48 and those of a clip to edit;
            SCAIL has 20, with a mask of frames that are given inside the latent.
        text_dim, text_tokens: the text embedding is [B, text_tokens, text_dim].
        branches: what stands beside the trunk, at most one of a kind; a pass begins with them in this order.
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    text_tokens: int = 512
    freq_dim: int = 256
    eps: float = 1e-6
    branches: tuple[Branch[DiTConfig], ...] = ()

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads

    @property
    def image_channels(self) -> int:
        """Input channels beside the latent: those of a control video, of a mask and of given frames, in that order."""
        return self.in_channels - self.out_channels

    @property
    def mask_channels(self) -> int:
        """Of these, the mask that says which frames are given: 4, or 0 where the model has none."""
        return self.image_channels % self.out_channels

    @property
    def control_channels(self) -> int:
        """Of these, the latent of a control video: as many as the latent's, or 0."""
        return self.out_channels if self.image_channels // self.out_channels == 2 else 0

    @property
    def has_mask_alone(self) -> bool:
        """Whether all that stands there is a mask, of frames that are given inside the latent (SCAIL)."""
        return 0 < self.image_channels == self.mask_channels

    @property
    def source_channels(self) -> int:
        """Of these, the latent of a clip to edit, of a model that has nothing else there (Lucy-Edit); or 0."""
        edits = self.image_channels == self.out_channels and self.branch_title is None
        return self.out_channels if edits else 0

    @property
    def image_tokens(self) -> int:
        """Tokens of pictures that every block sees beside the text; 0: blocks have no attention to them."""
        return sum(branch.image_tokens for branch in self.branches)

    @property
    def branch_title(self) -> str | None:
        """What a model is called after because of a branch; None where its trunk tells."""
        return next((branch.title for branch in self.branches if branch.title is not None), None)

    def branch(self, kind: type[BranchT]) -> BranchT | None:
        """Its branch of a kind, if it has one."""
        return next((branch for branch in self.branches if isinstance(branch, kind)), None)

    def with_branches(self, added: Iterable[Branch[DiTConfig]]) -> DiTConfig:
        """This transformer with more branches."""
        return replace(self, branches=(*self.branches, *added))

    def without(self, kind: type) -> DiTConfig:
        """This transformer without its branch of a kind."""
        return replace(self, branches=tuple(branch for branch in self.branches if not isinstance(branch, kind)))

    def block_order(self, kinds: Iterable[type] | None = None) -> Iterator[BlockPlace]:
        """Every block in the order of a pass, each own block of a branch right after the trunk's that it follows.

        Args:
            kinds: the branches whose own blocks take part; all if None.
        """
        wanted = None if kinds is None else set(kinds)
        own = [
            (type(branch), branch.own_blocks(self.layers))
            for branch in self.branches
            if wanted is None or type(branch) in wanted
        ]
        for index in range(self.layers):
            yield BlockPlace(f"blocks.{index}", index)
            yield from (BlockPlace(name, index, kind) for kind, names in own for name in names.get(index, ()))

    def block_flops(self, tokens: int, before: int = 0) -> int:
        """Floating-point operations of one block for a video of so many tokens: matrices and attention.

        Args:
            before: tokens that are remembered of the frames before.
        """
        text = self.text_tokens
        matrices = 12 * tokens * self.dim**2 + 4 * text * self.dim**2 + 4 * tokens * self.dim * self.ffn_dim
        return matrices + 4 * tokens * (tokens + before + text) * self.dim
