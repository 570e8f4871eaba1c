"""Our preview decoder against ComfyUI's TAEHV on the same random weights; run by `test_comfyui_previews`.

`python previews.py PACK COMFYUI FOLDER`: prints as JSON the largest differences of whole clips and of stills.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

PACK, COMFYUI, FOLDER = (Path(argument) for argument in sys.argv[1:4])
sys.argv[1:] = ["--cpu"]  # what follows is for us, not for ComfyUI's options
sys.path[:0] = [str(FOLDER), str(COMFYUI)]
(FOLDER / "wan_director").symlink_to(PACK, target_is_directory=True)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
from comfy.taesd.taehv import TAEHV  # noqa: E402
from wan_director.vae3d.tiny import TinyDecoder, TinyDecoderConfig  # noqa: E402

GROWING = (7, 13, 19)


def filled(decoder: TinyDecoder) -> dict[str, torch.Tensor]:
    """Random weights whose pictures use the range without leaving it much."""
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, weight in decoder.state_dict().items():
        scale = 1 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.1
        weights[name] = torch.randn(weight.shape, generator=generator) * scale
    weights["decoder.22.bias"] = torch.rand(weights["decoder.22.bias"].shape, generator=generator)
    return weights


def native(channels: int, weights: dict[str, torch.Tensor], *, grows: bool) -> TAEHV:
    made = TAEHV(channels, decoder_time_upscale=(False, grows, grows)).eval()
    made.load_state_dict({**made.state_dict(), **weights})
    return made


def rows() -> dict[str, float]:
    """By what is compared, the largest difference of pictures in 0..1."""
    found = {}
    for name, channels, patch in (("taew2_1", 16, 1), ("taew2_2", 48, 2)):
        decoder = TinyDecoder(TinyDecoderConfig(channels, patch=patch)).eval()
        weights = filled(decoder)
        decoder.load_state_dict(weights)
        latent = torch.randn(1, channels, 4, 6, 5, generator=torch.Generator().manual_seed(6))
        whole = native(channels, weights, grows=True).decode(latent.clone()).clamp(0, 1)
        pictures = torch.stack(list(decoder.pictures(latent.unbind(2))), dim=2)
        assert whole.shape == pictures.shape and whole.std() > 0.1
        found[f"{name}, whole clip"] = float((whole - pictures).abs().max())
        last = dict(weights)
        for index in GROWING:  # the author's cheaper preview: the last of the frames that a level makes
            key = f"decoder.{index}.conv.weight"
            last[key] = last[key][-last[key].shape[1] :]
        cheap = native(channels, last, grows=False).decode(latent.clone()).clamp(0, 1)
        stills = torch.stack(list(decoder.stills(latent.unbind(2))), dim=2)
        found[f"{name}, stills"] = float((cheap - stills).abs().max())
    return found


with torch.inference_mode():
    print(json.dumps(rows()))
