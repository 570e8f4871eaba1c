"""A tiny wav2vec2 for the miniature of InfiniteTalk: its first convolutions are made to measure, nothing is trained.

What a video is to follow is how loud a sound is. The first convolution is a bank of filters, the next ones take the
mean of what these pass, and the twelve blocks behind them are random ones that leave most of it as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.audio_encoder import build_audio_encoder
from wan_director.audio_encoder.config import SpeechConfig
from wan_director.audio_encoder.encoder import AudioEncoder
from wan_director.training.export import METADATA

FILE = "audio_encoders/wan_director_tiny_demo_wav2vec2.safetensors"
CONFIG = SpeechConfig(
    dim=16, ffn_dim=32, heads=2, layers=12, conv_dims=(16,) * 7, position_kernel=8, position_groups=4, conv_bias=False,
    is_stable=False,
)  # fmt: skip
_MIX = 0.15
"""Of random numbers in the convolutions that take the mean."""


@torch.no_grad()
def made_ears() -> AudioEncoder:
    """The encoder, always the same."""
    torch.manual_seed(71)
    encoder = build_audio_encoder(CONFIG)
    for name, weight in encoder.named_parameters():
        if "conv_layers.0.conv" in name:
            weight.copy_(_filters(weight))
        elif "conv_layers" in name and name.endswith("conv.weight"):
            mean = torch.eye(len(weight))[:, :, None] / weight.shape[2]
            weight.copy_(mean + _MIX * torch.randn_like(weight) / weight[0].numel() ** 0.5)
        elif "conv_layers.0.layer_norm.bias" in name:
            weight.copy_(torch.linspace(-0.5, 1.0, len(weight)))
        elif name.endswith("weight") and weight.ndim > 1 and "pos_conv" not in name:
            weight.copy_(torch.randn_like(weight) / weight.shape[1] ** 0.5)
        elif name.endswith("bias") and "norm" not in name:
            weight.copy_(0.3 * torch.randn_like(weight))
    return encoder.eval().requires_grad_(False)


def _filters(weight: Tensor) -> Tensor:
    """Waves of 200 to 4,000 Hz, so many samples long, in both phases."""
    channels, _, length = weight.shape
    cycles = torch.logspace(torch.tensor(200.0).log10().item(), torch.tensor(4000.0).log10().item(), channels // 2)
    angle = 2 * torch.pi * cycles[:, None] * torch.arange(length) / 16_000
    return torch.cat([angle.cos(), angle.sin()])[:, None] / length


def save_ears(encoder: AudioEncoder, models: Path) -> None:
    """Writes the encoder as published ones are."""
    weights = {name: weight.detach().half().contiguous() for name, weight in encoder.state_dict().items()}
    path = models / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata={**METADATA, "wan_director.heads": str(CONFIG.heads)})
