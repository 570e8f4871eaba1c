"""Model families: what belongs together, and how their latents are normalised."""

from __future__ import annotations

from torch import Tensor, tensor

from .records import record


@record
class Family:
    """Everything a model object must agree on with its partners.

    `latent_mean` and `latent_std` are per latent channel: normalised = (raw - mean) / std. LATENT sockets carry
    raw latents; the transformer works on normalised ones.
    `rgb_factors` [C, 3] and `rgb_bias` [3] give a rough picture in 0..1 of a normalised latent (see `preview`).
    `size_multiple`: sides of a video are multiples of this many pixels; `trained_frames`: its usual, longest length.
    `preview_files`: how the names of its preview decoders begin, the first one first.
    `given_in_latent`: given first frames stand in the latent itself, not in input channels beside it.
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
    size_multiple: int
    trained_frames: int
    fps: int
    vae_file: str
    text_encoder_file: str
    given_in_latent: bool = False
    clip_vision_file: str = "clip_vision_h.safetensors"
    preview_files: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """Kind of model that works with a transformer -> the file of this family."""
        return {
            "vae": self.vae_file,
            "text_encoder": self.text_encoder_file,
            "clip_vision": self.clip_vision_file,
        }

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
    size_multiple=16,
    trained_frames=81,
    fps=16,
    vae_file="wan_2.1_vae.safetensors",
    text_encoder_file="umt5_xxl_fp16.safetensors",
    preview_files=("lighttaew2_1", "taew2_1"),
)

# Source of mean and std: Wan-Video/Wan2.2 wan/modules/vae2_2.py. RGB factors: comfy/latent_formats.py of ComfyUI.
_WAN_2_2_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
    -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
    0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
_WAN_2_2_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip
_WAN_2_2_RGB = (
    (0.0119, 0.0103, 0.0046), (-0.1062, -0.0504, 0.0165), (0.0140, 0.0409, 0.0491), (-0.0813, -0.0677, 0.0607),
    (0.0656, 0.0851, 0.0808), (0.0264, 0.0463, 0.0912), (0.0295, 0.0326, 0.0590), (-0.0244, -0.0270, 0.0025),
    (0.0443, -0.0102, 0.0288), (-0.0465, -0.0090, -0.0205), (0.0359, 0.0236, 0.0082), (-0.0776, 0.0854, 0.1048),
    (0.0564, 0.0264, 0.0561), (0.0006, 0.0594, 0.0418), (-0.0319, -0.0542, -0.0637), (-0.0268, 0.0024, 0.0260),
    (0.0539, 0.0265, 0.0358), (-0.0359, -0.0312, -0.0287), (-0.0285, -0.1032, -0.1237), (0.1041, 0.0537, 0.0622),
    (-0.0086, -0.0374, -0.0051), (0.0390, 0.0670, 0.2863), (0.0069, 0.0144, 0.0082), (0.0006, -0.0167, 0.0079),
    (0.0313, -0.0574, -0.0232), (-0.1454, -0.0902, -0.0481), (0.0714, 0.0827, 0.0447), (-0.0304, -0.0574, -0.0196),
    (0.0401, 0.0384, 0.0204), (-0.0758, -0.0297, -0.0014), (0.0568, 0.1307, 0.1372), (-0.0055, -0.0310, -0.0380),
    (0.0239, -0.0305, 0.0325), (-0.0663, -0.0673, -0.0140), (-0.0416, -0.0047, -0.0023), (0.0166, 0.0112, -0.0093),
    (-0.0211, 0.0011, 0.0331), (0.1833, 0.1466, 0.2250), (-0.0368, 0.0370, 0.0295), (-0.3441, -0.3543, -0.2008),
    (-0.0479, -0.0489, -0.0420), (-0.0660, -0.0153, 0.0800), (-0.0101, 0.0068, 0.0156), (-0.0690, -0.0452, -0.0927),
    (-0.0145, 0.0041, 0.0015), (0.0421, 0.0451, 0.0373), (0.0504, -0.0483, -0.0356), (-0.0837, 0.0168, 0.0055),
)  # fmt: skip

# The 5B model of Wan 2.2. Its 14B models have the latents of Wan 2.1 and belong to that family.
WAN_2_2_5B = Family(
    name="wan2.2-5b",
    title="Wan 2.2 TI2V-5B",
    latent_channels=48,
    spatial_stride=16,
    text_width=4096,
    latent_mean=_WAN_2_2_MEAN,
    latent_std=_WAN_2_2_STD,
    rgb_factors=_WAN_2_2_RGB,
    rgb_bias=(0.0317, -0.0878, -0.1388),
    size_multiple=32,
    trained_frames=121,
    fps=24,
    vae_file="wan2.2_vae.safetensors",
    text_encoder_file="umt5_xxl_fp16.safetensors",
    given_in_latent=True,
    preview_files=("lighttaew2_2", "taew2_2"),
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
    size_multiple=16,
    trained_frames=33,
    fps=8,
    vae_file="wan_director_tiny_demo_vae.safetensors",
    text_encoder_file="wan_director_tiny_demo_text_encoder.safetensors",
    clip_vision_file="wan_director_tiny_demo_clip_vision.safetensors",
    preview_files=("wan_director_tiny_demo_preview",),
)

FAMILIES = {family.name: family for family in (WAN_2_1, WAN_2_2_5B, TINY)}
