"""The causal video autoencoders of Wan 2.1 and 2.2: video to latent and back, a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import InvalidInputError, OutOfMemory
from ..common.log import logger
from ..common.memory.out_of_memory import free_unused, is_out_of_memory
from ..common.ranks import ALONE, Ranks
from ..common.shapes import TEMPORAL_STRIDE, check_frames, video_frames
from .config import WAN_2_1_VAE, VAEConfig
from .decoder import Decoder
from .encoder import Encoder
from .passes import ClipPass, grouped
from .stream import FrameStream, run
from .strips import Shelf
from .tiles import decode_tiled

STRIP_CHOICES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of strips worth choosing from: of thinner ones most is halo."""
TILES = (32, 16, 8)
"""Sides in latent pixels of the tiles that are tried one after the other when memory runs out even in strips."""


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
        if whole:
            self._check_clip(video)
            features = self.conv1(run(self.encoder.steps(), video, FrameStream()))
        else:
            features = torch.cat(list(self._features(video)), dim=2)
        mean, log_variance = features.chunk(2, dim=1)
        return mean, log_variance

    def encode_stream(
        self,
        video: Tensor,
        strips: int = 1,
        *,
        prepare: Callable[[Tensor], Tensor] | None = None,
        check: Callable[[], None] | None = None,
        shelf: Shelf | None = None,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """As `encode`, giving each latent frame [B, C, 1, h, w] as it is done; see `decode_stream`.

        Args:
            video: as for `encode`, on any device: the frames are taken to the weights' as they are needed.
            prepare: is applied to them there, four at a time at most: what brings them to -1..1, and to the size that
                `encode` takes, if they do not have it.
        """
        for features in self._features(video, strips, prepare, check, shelf, ranks):
            yield features.chunk(2, dim=1)[0]

    def decode(self, latent: Tensor) -> Tensor:
        """The clip of a raw latent [B, C, T, h, w]: [B, 3, F, H, W], about -1..1, not clamped."""
        stride = self.config.decoded_stride
        batch, _, frames, height, width = latent.shape
        video = latent.new_empty(batch, 3, video_frames(frames), height * stride, width * stride)
        done = 0
        for piece in self.decode_stream(latent):
            video[:, :, done : done + piece.shape[2]] = piece
            done += piece.shape[2]
        return video

    def decode_stream(
        self,
        latent: Tensor,
        strips: int = 1,
        *,
        tile: int | None = None,
        check: Callable[[], None] | None = None,
        shelf: Shelf | None = None,
        await_frames: Callable[[int], None] = lambda _count: None,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """As `decode`, giving the frames as they are done: [B, 3, 1, H, W], then [B, 3, 4, H, W] each time.

        When memory runs out, decoding goes on from where it was: in two strips, then twice as many, at last in tiles.

        Args:
            latent: [B, C, T, h, w], on any device.
            strips: cut the large frames into so many strips: less memory, the same result (see `strips`). Frames then
                come some latent frames at a time.
            tile: decode in tiles of so many latent pixels instead: near the result, not equal (see `tiles`).
            check: called before each layer; what it raises ends the run.
            shelf: where the past of the strips waits.
            await_frames: called before so many of the latent's frames have been read in all, of a latent that is
                written meanwhile.
            ranks: that share the strips, all with the same arguments; each gets all frames.

        Raises:
            OutOfMemory: even the smallest tiles need more memory than there is; of several ranks, the thinnest strips.
        """
        done = read = 0

        def enter(frames: Tensor) -> Tensor:
            nonlocal read
            read += frames.shape[2]
            await_frames(read)
            return self._enter_decoder(frames)

        if tile is None:
            decoding = ClipPass(
                self.decoder.steps(), self.decoder.striped(), strips, check=check, shelf=shelf, ranks=ranks
            )
            frames = decoding.run(latent, enter, inputs_per_latent=1)
            try:
                for piece in grouped(frames, TEMPORAL_STRIDE):
                    done += 1
                    yield piece
                return
            except OutOfMemory:
                if ranks.size > 1:  # the others go on in strips
                    raise
                del decoding, frames
            free_unused()
            logger.warning("Memory ran out in the VAE; it goes on in tiles, which are not exact.")
        await_frames(latent.shape[2])
        yield from self._decode_tiled(latent, tile, done, check, shelf)

    def decode_whole(self, latent: Tensor) -> Tensor:
        """As `decode`, taking the clip as one chunk: the same result, faster to train, with far more memory."""
        return self.decoder(self.conv2(latent), FrameStream())

    def _features(
        self,
        video: Tensor,
        strips: int = 1,
        prepare: Callable[[Tensor], Tensor] | None = None,
        check: Callable[[], None] | None = None,
        shelf: Shelf | None = None,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """Mean and log-variance of each latent frame: [B, 2 * C, 1, h, w]."""
        check_frames(video.shape[2])
        weight = self.conv1.weight
        encoding = ClipPass(self.encoder.steps(), self.encoder.striped(), strips, check=check, shelf=shelf, ranks=ranks)

        def enter(frames: Tensor) -> Tensor:
            entering = torch.empty(0)
            for start in range(0, frames.shape[2], TEMPORAL_STRIDE):
                few = frames[:, :, start : start + TEMPORAL_STRIDE].to(weight.device)
                few = (prepare(few) if prepare else few).to(weight.dtype)
                if not start:
                    self._check_size(few)
                if few.shape[2] == frames.shape[2]:
                    return few
                if not start:
                    entering = few.new_empty(*few.shape[:2], frames.shape[2], *few.shape[3:])
                entering[:, :, start : start + few.shape[2]] = few
            return entering

        for frame in encoding.run(video, enter, inputs_per_latent=TEMPORAL_STRIDE):
            yield self.conv1(frame)

    def _enter_decoder(self, latent: Tensor) -> Tensor:
        return self.conv2(latent.to(self.conv2.weight))

    def _decode_tiled(
        self, latent: Tensor, tile: int | None, start: int, check: Callable[[], None] | None, shelf: Shelf | None
    ) -> Iterator[Tensor]:
        for size in (tile,) if tile else TILES:
            try:
                for piece in decode_tiled(
                    self.decoder.steps(), latent, self._enter_decoder, size, start=start, check=check, shelf=shelf
                ):
                    start += 1
                    yield piece
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            free_unused()
            logger.warning("Memory ran out in the VAE; smaller tiles are tried.")
        raise OutOfMemory(
            "The VAE needs more memory than is free, even in small tiles. Make a smaller video, or free memory."
        )

    def _check_clip(self, video: Tensor) -> None:
        check_frames(video.shape[2])
        self._check_size(video)

    def _check_size(self, video: Tensor) -> None:
        height, width = video.shape[-2:]
        stride = self.config.spatial_stride
        if height % stride or width % stride:
            raise InvalidInputError(
                f"The VAE needs pictures whose width and height are multiples of {stride}, got {width} x {height}. "
                f"Crop or resize it to {width - width % stride} x {height - height % stride}."
            )
