"""The Wan video transformer. Attribute names equal the keys of the official checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.errors import PairingError
from .attention import resolve_attention
from .block import Block, Context
from .config import PATCH, DiTConfig
from .inputs import DitInputs
from .layers import ClipProjection, Head, timestep_signal
from .rope import make_rope

BlockStream = Callable[[Iterable[nn.Module]], Iterable[nn.Module]]


class Embedded(NamedTuple):
    """The inputs as the blocks see them: tokens [B, L, D], time [B, D], the grid of tokens, the blocks' context."""

    tokens: Tensor
    time: Tensor
    grid: tuple[int, int, int]
    context: Context


class WanDiT(nn.Module):
    """Predicts the velocity (noise - clean) of a noisy latent video.

    Args:
        config: sizes, see `PRESETS`.
        operations: namespace that gives Linear, LayerNorm and Conv3d.
        attention: name in `attention.ATTENTION`.
        fp32_residual: keep the tokens in float32 between the matrices of a 16-bit model. Closer to the float32
            result, at twice the memory of one token buffer.

    `block_stream` yields the blocks in order; a residency policy replaces it to bring weights in as they are needed.
    """

    def __init__(
        self,
        config: DiTConfig,
        operations: ModuleType = nn,
        attention: str = "auto",
        fp32_residual: bool = False,
    ) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.fp32_residual = fp32_residual
        self.block_stream: BlockStream = iter
        kernel = resolve_attention(attention)
        linear = operations.Linear

        self.patch_embedding = operations.Conv3d(config.in_channels, dim, kernel_size=PATCH, stride=PATCH)
        self.text_embedding = nn.Sequential(linear(config.text_dim, dim), nn.GELU(approximate="tanh"), linear(dim, dim))
        self.time_embedding = nn.Sequential(linear(config.freq_dim, dim), nn.SiLU(), linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), linear(dim, 6 * dim))
        if config.clip_dim is not None:
            self.img_emb = ClipProjection(config, operations)
        self.blocks = nn.ModuleList(Block(config, operations, kernel) for _ in range(config.layers))
        self.head = Head(config, operations)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the matrices are multiplied in."""
        return self.patch_embedding.weight.dtype

    def forward(self, inputs: DitInputs) -> Tensor:
        """Velocity [B, out_channels, T, h, w], in the dtype of the latent.

        Raises:
            PairingError: the inputs do not fit this model.
        """
        embedded = self.embed(inputs)
        tokens = self.trunk(embedded, inputs.on_block)
        velocity = self.unembed(tokens, embedded)
        height, width = inputs.latent.shape[-2:]
        return velocity[..., :height, :width].to(inputs.latent.dtype)

    def embed(self, inputs: DitInputs) -> Embedded:
        """Latent, timestep, text and image as tokens of the transformer's width."""
        dtype = self.dtype
        patches = self.patch_embedding(pad_to_patches(self._channels(inputs).to(dtype)))  # [B, D, T, h', w']
        grid = tuple(patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2).contiguous()
        signal = timestep_signal(inputs.timestep, self.config.freq_dim)
        time = self.time_embedding(signal.to(dtype))
        context = Context(
            modulation=self.time_projection(time).float().unflatten(1, (6, -1)),
            rope=make_rope(self.config.head_dim, grid, tokens.device),
            text=self._text_tokens(inputs),
            image=self._clip_tokens(inputs),
        )
        return Embedded(tokens.float() if self.fp32_residual else tokens, time, grid, context)

    def trunk(self, embedded: Embedded, on_block: Callable[[int], None]) -> Tensor:
        """All blocks in order: tokens [B, L, D] -> [B, L, D]. With autograd off, `embedded.tokens` is overwritten."""
        tokens = embedded.tokens
        for index, block in enumerate(self.block_stream(self.blocks)):
            tokens = block(tokens, embedded.context)
            on_block(index)
        return tokens

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """Tokens [B, L, D] -> velocity [B, out_channels, T, h, w] of the padded size."""
        values = self.head(tokens, embedded.time, self.dtype)
        values = values.unflatten(1, embedded.grid).unflatten(-1, (*PATCH, -1))  # [B, T, h', w', 1, 2, 2, C]
        values = values.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return values.flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _channels(self, inputs: DitInputs) -> Tensor:
        latent, image = inputs.latent, inputs.image_channels
        wanted = self.config.in_channels
        if image is None:
            missing = wanted - latent.shape[1]
            image = latent.new_zeros(latent.shape[0], max(missing, 0), *latent.shape[2:])
        if latent.shape[1] + image.shape[1] != wanted:
            raise PairingError(
                f"The latent has {latent.shape[1]} channels and the image conditioning {image.shape[1]}, but this "
                f"model takes {wanted} in all. Use an image-to-video model (36) with a start image, a text-to-video "
                "model (16) without."
            )
        return torch.cat([latent, image.to(latent.dtype)], dim=1)

    def _text_tokens(self, inputs: DitInputs) -> Tensor:
        if inputs.text.shape[-1] != self.config.text_dim:
            raise PairingError(
                f"The text embedding is {inputs.text.shape[-1]} wide, but this model takes {self.config.text_dim}. "
                "Load the text encoder that belongs to the model (UMT5-XXL for Wan, the tiny one for the tiny model)."
            )
        return self.text_embedding(inputs.text.to(self.dtype))

    def _clip_tokens(self, inputs: DitInputs) -> Tensor | None:
        if inputs.clip_image is None:
            return None
        if self.config.clip_dim is None:
            raise PairingError(
                "This model has no branch for CLIP image features (only Wan 2.1 image-to-video models have one). "
                "Remove the CLIP vision input, or load such a model."
            )
        return self.img_emb(inputs.clip_image.to(self.dtype))


def pad_to_patches(x: Tensor) -> Tensor:
    """x [B, C, T, h, w] with an odd row or column count padded to even, by repeating from the other side."""
    pad_rows, pad_columns = -x.shape[-2] % PATCH[1], -x.shape[-1] % PATCH[2]
    if not pad_rows and not pad_columns:
        return x
    return F.pad(x, (0, pad_columns, 0, pad_rows, 0, 0), mode="circular")
