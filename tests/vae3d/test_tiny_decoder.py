"""The preview decoder against TAEHV written out for whole clips, and its streams against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from wan_director.vae3d.tiny import Enlarge, MemoryBlock, MoreFrames, Rectify, Squash, TinyDecoder, TinyDecoderConfig

CONFIGS = {
    "taew2_1": TinyDecoderConfig(16, widths=(32, 16, 8, 8)),
    "taew2_2": TinyDecoderConfig(48, widths=(32, 16, 8, 8), patch=2),
}
LIMIT = 1e-5
"""Of pictures in 0..1 in float32: the same sums, of which some are taken in another order."""


def decoder_of(config: TinyDecoderConfig, seed: int = 0) -> TinyDecoder:
    """A decoder of random weights whose pictures use the range."""
    generator = torch.Generator().manual_seed(seed)
    decoder = TinyDecoder(config)
    with torch.no_grad():
        for weight in decoder.parameters():
            scale = 1.0 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
        last = decoder.decoder[-1]
        last.bias.copy_(torch.rand(last.bias.shape, generator=generator))
    return decoder.requires_grad_(False)


def whole_clip(decoder: TinyDecoder, latent: Tensor, frames: tuple[int, int, int]) -> Tensor:
    """TAEHV layer by layer over all frames at once, [B, C, T, h, w] to [B, 3, F, H, W]: an independent restatement.

    `frames`: how many a level makes; where that is fewer than its weights give, the last ones.
    """
    weights, made = decoder.state_dict(), iter(frames)
    batch = latent.shape[0]
    x = latent.transpose(1, 2).flatten(0, 1)
    for index, part in enumerate(decoder.decoder):
        stem = f"decoder.{index}."
        if isinstance(part, Squash):
            x = (x / 3).tanh() * 3
        elif isinstance(part, Rectify):
            x = x.relu()
        elif isinstance(part, Enlarge):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        elif isinstance(part, MoreFrames):
            count, channels = next(made), x.shape[1]
            grown = F.conv2d(x, weights[stem + "conv.weight"][-count * channels :])
            x = grown.unflatten(1, (count, channels)).flatten(0, 1)
        elif isinstance(part, MemoryBlock):
            clip = x.unflatten(0, (batch, -1))
            before = torch.cat([torch.zeros_like(clip[:, :1]), clip[:, :-1]], 1).flatten(0, 1)
            inner = torch.cat([x, before], 1)
            for layer in (0, 2, 4):
                inner = F.conv2d(
                    inner, weights[f"{stem}conv.{layer}.weight"], weights[f"{stem}conv.{layer}.bias"], padding=1
                )
                inner = inner.relu() if layer < 4 else inner
            x = (inner + x).relu()
        else:
            x = F.conv2d(x, weights[stem + "weight"], weights.get(stem + "bias"), padding=1)
    x = F.pixel_shuffle(x, decoder.config.patch).clamp(0, 1)
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


def latent_of(config: TinyDecoderConfig, frames: int = 4) -> Tensor:
    return torch.randn(2, config.latent_channels, frames, 3, 5, generator=torch.Generator().manual_seed(1)) * 2


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pictures_are_those_of_the_whole_clip(name: str) -> None:
    config = CONFIGS[name]
    decoder, latent = decoder_of(config), latent_of(config)
    expected = whole_clip(decoder, latent, config.frames)[:, :, 3:]
    pictures = torch.stack(list(decoder.pictures(latent.unbind(2))), dim=2)
    assert pictures.shape == (2, 3, 13, 3 * config.spatial_stride, 5 * config.spatial_stride)
    assert (pictures - expected).abs().max() <= LIMIT
    assert expected.std() > 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_the_stills_are_those_of_levels_that_make_no_more_frames(name: str) -> None:
    config = CONFIGS[name]
    decoder, latent = decoder_of(config), latent_of(config)
    stills = torch.stack(list(decoder.stills(latent.unbind(2))), dim=2)
    assert stills.shape[2] == 4
    assert (stills - whole_clip(decoder, latent, (1, 1, 1))).abs().max() <= LIMIT


def test_half_the_size_is_half_of_both_sides() -> None:
    config = CONFIGS["taew2_2"]
    decoder, latent = decoder_of(config), latent_of(config)
    halves = list(decoder.stills(latent.unbind(2), is_half=True))
    assert [half.shape for half in halves] == [(2, 3, 24, 40)] * 4


def test_pictures_are_made_as_they_are_asked_for() -> None:
    """So that no more than a frame of each layer is held."""
    config, taken = CONFIGS["taew2_1"], []
    frames = (taken.append(index) or frame for index, frame in enumerate(latent_of(config).unbind(2)))
    stream = decoder_of(config).pictures(frames)
    counts = []
    for _ in stream:
        counts.append(len(taken))
    assert counts == [1, *[2] * 4, *[3] * 4, *[4] * 4]


def test_the_work_and_the_sizes_are_those_of_the_published_decoder() -> None:
    """taew2_1.safetensors has 22,642,902 bytes in 16-bit numbers: decoder, encoder, and a header of some 12 kB."""
    with torch.device("meta"):
        decoder = TinyDecoder(TinyDecoderConfig(16))
    encoder = 1_470_928
    weights = 2 * (sum(weight.numel() for weight in decoder.parameters()) + encoder)
    assert 5_000 < 22_642_902 - weights < 20_000
    assert decoder.multiply_adds(1, 1) == _counted(TinyDecoderConfig(16), is_half=False)
    assert decoder.multiply_adds(1, 1, is_half=True) == _counted(TinyDecoderConfig(16), is_half=True)


def _counted(config: TinyDecoderConfig, *, is_half: bool) -> int:
    """Multiply-adds of a still of one latent pixel, counted by the layers that run."""
    decoder, total = TinyDecoder(config), 0
    original = F.conv2d

    def counting(x: Tensor, weight: Tensor, *arguments: object, **named: object) -> Tensor:
        nonlocal total
        total += x.shape[0] * x.shape[2] * x.shape[3] * weight.numel()
        return original(x, weight, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, "conv2d", counting)
        list(decoder.stills([torch.zeros(1, config.latent_channels, 1, 1)], is_half=is_half))
    return total
