"""The causal video autoencoders of Wan 2.1 and 2.2: video to latent and back, a few frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import InvalidInputError
from ..common.shapes import check_frames, video_frames
from .config import WAN_2_1_VAE, VAEConfig
from .decoder import Decoder
from .encoder import Encoder
from .stream import FrameStream, run, run_depth_first


class CausalVAE(nn.Module):
    """Wan's video autoencoder. Attribute names equal the keys of the official checkpoint.

    Latents here are raw, not normalised (see `common.families.Family.normalize`). A clip of 1 + 4k frames has 1 + k
    latent frames. The model computes where its weights are, in their dtype.

    Source: Wan-Video/Wan2.1, wan/modules/vae.py; Wan-Video/Wan2.2, wan/modules/vae2_2.py.
    """

    def __init__(self, config: VAEConfig = WAN_2_1_VAE, operations: Any = nn) -> None:
        super().__init__()
        channels = config.latent_channels
        self.config = config
        self.encoder = Encoder(config, operations)
        self.conv1 = operations.Conv3d(2 * channels, 2 * channels, 1)
        self.conv2 = operations.Conv3d(channels, channels, 1)
        self.decoder = Decoder(config, operations)

    def encode(self, video: Tensor) -> Tensor:
        """The mean latent of a clip, raw.

        Args:
            video: [B, 3, F, H, W], values in [-1, 1], F = 1 + 4k, H and W multiples of `config.spatial_stride`.

        Returns:
            [B, C, T, h, w].

        Raises:
            InvalidInputError: the clip does not have 1 + 4k frames, or a side is no multiple of the stride.
        """
        return self.encode_distribution(video)[0]

    def encode_distribution(self, video: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent; arguments and errors as `encode`.

        Args:
            whole: take the clip as one chunk: the same result, faster to train, with far more memory.
        """
        check_frames(video.shape[2])
        self._check_size(*video.shape[-2:])
        steps, stream = self.encoder.steps(), FrameStream()
        if whole:
            features = run(steps, video, stream)
        else:
            features = torch.cat(list(run_depth_first(steps, video, stream)), dim=2)
        mean, log_variance = self.conv1(features).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """The clip of a raw latent [B, C, T, h, w]: [B, 3, F, H, W], about -1..1, not clamped."""
        stride = self.config.spatial_stride
        batch, _, frames, height, width = latent.shape
        video = latent.new_empty(batch, 3, video_frames(frames), height * stride, width * stride)
        done = 0
        for piece in self.decode_stream(latent):
            video[:, :, done : done + piece.shape[2]] = piece
            done += piece.shape[2]
        return video

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        """As `decode`, giving the frames as they are done: [B, 3, 1, H, W], then [B, 3, 4, H, W] each time."""
        steps, stream = self.decoder.steps(), FrameStream()
        for frame in self.conv2(latent).split(1, dim=2):
            yield torch.cat(list(run_depth_first(steps, frame, stream)), dim=2)

    def decode_whole(self, latent: Tensor) -> Tensor:
        """As `decode`, taking the clip as one chunk: the same result, faster to train, with far more memory."""
        return self.decoder(self.conv2(latent), FrameStream())

    def _check_size(self, height: int, width: int) -> None:
        stride = self.config.spatial_stride
        if height % stride or width % stride:
            raise InvalidInputError(
                f"The VAE needs pictures whose width and height are multiples of {stride}, got {width} x {height}. "
                f"Crop or resize it to {width - width % stride} x {height - height % stride}."
            )
