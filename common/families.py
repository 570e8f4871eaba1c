"""Model families: what belongs together, and how their latents are normalised."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, tensor


@dataclass(frozen=True, slots=True)
class Family:
    """Everything a model object must agree on with its partners.

    `latent_mean` and `latent_std` are per latent channel: normalised = (raw - mean) / std. LATENT sockets carry
    raw latents; the transformer works on normalised ones.
    `rgb_factors` [C, 3] and `rgb_bias` [3] give a rough picture in 0..1 of a normalised latent (see `preview`).
    """

    name: str
    title: str
    latent_channels: int
    spatial_stride: int
    text_width: int
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    rgb_factors: tuple[tuple[float, float, float], ...]
    rgb_bias: tuple[float, float, float]
    fps: int
    vae_file: str
    text_encoder_file: str

    def normalize(self, latent: Tensor) -> Tensor:
        """Raw VAE latent [B, C, T, h, w] -> zero-mean, unit-variance latent of the same shape."""
        mean, std = self._statistics(latent)
        return (latent - mean) / std

    def denormalize(self, latent: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        mean, std = self._statistics(latent)
        return latent * std + mean

    def preview(self, latent: Tensor) -> Tensor:
        """Rough picture of a normalised latent: [B, C, T, h, w] -> [B, T, h, w, 3] in 0..1."""
        factors = tensor(self.rgb_factors, dtype=latent.dtype, device=latent.device)
        bias = tensor(self.rgb_bias, dtype=latent.dtype, device=latent.device)
        return ((latent.movedim(1, -1) @ factors + bias + 1) / 2).clamp(0, 1)

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, self.latent_channels, 1, 1, 1)
        mean = tensor(self.latent_mean, dtype=latent.dtype, device=latent.device).view(shape)
        std = tensor(self.latent_std, dtype=latent.dtype, device=latent.device).view(shape)
        return mean, std


# Source of mean and std: Wan-Video/Wan2.1 wan/modules/vae.py. RGB factors: a linear fit published with the
# preview code of several interfaces.
_WAN_2_1_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
_WAN_2_1_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
_WAN_2_1_RGB = (
    (-0.1299, -0.1692, 0.2932), (0.0671, 0.0406, 0.0442), (0.3568, 0.2548, 0.1747), (0.0372, 0.2344, 0.1420),
    (0.0313, 0.0189, -0.0328), (0.0296, -0.0956, -0.0665), (-0.3477, -0.4059, -0.2925), (0.0166, 0.1902, 0.1975),
    (-0.0412, 0.0267, -0.1364), (-0.1293, 0.0740, 0.1636), (0.0680, 0.3019, 0.1128), (0.0032, 0.0581, 0.0639),
    (-0.1251, 0.0927, 0.1699), (0.0060, -0.0633, 0.0005), (0.3477, 0.2275, 0.2950), (0.1984, 0.0913, 0.1861),
)  # fmt: skip

WAN_2_1 = Family(
    name="wan2.1",
    title="Wan 2.1",
    latent_channels=16,
    spatial_stride=8,
    text_width=4096,
    latent_mean=_WAN_2_1_MEAN,
    latent_std=_WAN_2_1_STD,
    rgb_factors=_WAN_2_1_RGB,
    rgb_bias=(-0.1835, -0.0868, -0.3360),
    fps=16,
    vae_file="wan_2.1_vae.safetensors",
    text_encoder_file="umt5_xxl_fp16.safetensors",
)

# Source: training/preview_fit.py.
_TINY_RGB = (
    (-0.0644, -0.0228, 0.0411), (-0.0506, -0.0464, 0.0150), (0.1149, 0.0527, 0.1925), (0.1560, 0.0776, 0.0168),
    (-0.0577, 0.0686, -0.0910), (-0.0581, -0.0427, 0.2033), (0.0092, -0.0221, -0.0155), (0.0185, 0.1220, -0.0286),
    (0.0193, -0.0043, 0.0756), (0.0843, 0.1078, 0.1176), (-0.0055, -0.0401, -0.0627), (0.3130, 0.0131, -0.0536),
    (0.0461, -0.2713, -0.1364), (0.0718, 0.0042, 0.0118), (0.0097, 0.0721, -0.0420), (-0.1610, 0.0912, 0.0633),
)  # fmt: skip

# The bundled demo model. Its VAE was rescaled after training so that its raw latents have the statistics of
# Wan 2.1, which lets every tool that knows Wan 2.1 latents handle them.
TINY = Family(
    name="tiny",
    title="the tiny demo model",
    latent_channels=16,
    spatial_stride=8,
    text_width=128,
    latent_mean=_WAN_2_1_MEAN,
    latent_std=_WAN_2_1_STD,
    rgb_factors=_TINY_RGB,
    rgb_bias=(0.0400, -0.1768, 0.0263),
    fps=8,
    vae_file="wan_director_tiny_demo_vae.safetensors",
    text_encoder_file="wan_director_tiny_demo_text_encoder.safetensors",
)

FAMILIES = {family.name: family for family in (WAN_2_1, TINY)}
