"""What a Wan video autoencoder is made of."""

from __future__ import annotations

from ..common.errors import InvalidInputError
from ..common.records import record


@record
class VAEConfig:
    """The sizes and the form of a `CausalVAE`; the defaults are those of the Wan 2.1 autoencoder.

    `channel_multipliers` has one entry per resolution, finest first: level i works on `base_channels *
    channel_multipliers[i]` channels. Between two levels the encoder halves width and height, and the number of
    frames too where `temporal_downsample` says so; the decoder does the reverse. `residual_blocks` counts the
    blocks per level of the encoder (the decoder has one more). `decoder_base_channels` is `base_channels` when None.

    The form of the Wan 2.2 autoencoder: the network sees squares of `patch_size` x `patch_size` pixels as one pixel
    with more channels, and with `level_shortcuts` each level has a shortcut around it (see `wan22`).

    Where `enlargement` is more than 1, pictures are decoded so many times as wide and high as they were encoded: the
    decoder then gives a square of pixels as channels of one.
    """

    base_channels: int = 96
    latent_channels: int = 16
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4)
    residual_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    decoder_base_channels: int | None = None
    patch_size: int = 1
    level_shortcuts: bool = False
    enlargement: int = 1

    def __post_init__(self) -> None:
        levels, switches = len(self.channel_multipliers), len(self.temporal_downsample)
        if switches != levels - 1:
            raise InvalidInputError(
                f"A VAE with {levels} channel_multipliers has {levels - 1} resamplings, got {switches} "
                f"temporal_downsample values. Give {levels - 1}."
            )

    @property
    def spatial_stride(self) -> int:
        """Pixels of an encoded picture per latent pixel, along each side."""
        return self.patch_size * 2 ** len(self.temporal_downsample)

    @property
    def decoded_stride(self) -> int:
        """Pixels of a decoded picture per latent pixel, along each side."""
        return self.spatial_stride * self.enlargement

    @property
    def decoded_channels(self) -> int:
        """Channels that the decoder's last layer makes."""
        return self.patch_channels * self.enlargement**2

    @property
    def patch_channels(self) -> int:
        """Channels of the video as the network sees it: those of all pixels of a patch."""
        return 3 * self.patch_size**2

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """Channels of the encoder's levels, finest first."""
        return tuple(self.base_channels * multiplier for multiplier in self.channel_multipliers)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the decoder's levels, coarsest first."""
        base = self.decoder_base_channels or self.base_channels
        return tuple(base * multiplier for multiplier in reversed(self.channel_multipliers))


WAN_2_1_VAE = VAEConfig()
# A quarter of the channels, distilled from the official one. Source: ModelTC/LightX2V, "LightVAE" (lightvaew2_1).
LIGHT_WAN_2_1_VAE = VAEConfig(base_channels=24)
# Its decoder was trained further to make pictures of twice the size. Source: spacepxl/Wan2.1-VAE-upscale2x.
DOUBLING_WAN_2_1_VAE = VAEConfig(enlargement=2)
WAN_2_2_VAE = VAEConfig(
    base_channels=160, latent_channels=48, decoder_base_channels=256, patch_size=2, level_shortcuts=True
)
