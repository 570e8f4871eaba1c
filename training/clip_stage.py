"""Stage 3: a tiny CLIP vision encoder that sees colour, background, shape and size of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Linear
from wan_director.common.log import logger
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder, encode_image
from wan_director.training.optimizer import MuonAdamW, cosine
from wan_director.training.scenes import Scene, render, sample_scene
from wan_director.training.text_stage import ATTRIBUTES, muon_split

CONFIG = ClipVisionConfig(image_size=56, patch=14, dim=64, heads=4, layers=2, mlp_dim=256, embed_dim=64)
STEPS = 500
BATCH = 64
SEEN = ("colour", "background", "shape", "size")


def start_pictures(scenes: list[Scene], height: int, width: int) -> Tensor:
    """First frames of the scenes as the encoder takes them: [B, H, W, 3] in 0..1."""
    return ((render(scenes, 1, height, width)[:, :, 0] + 1) / 2).movedim(1, -1)


def train(runs: Path) -> None:
    """Trains the encoder to name what it sees; leaves `clip.pt` in `runs`."""
    torch.manual_seed(2)
    encoder = ClipVisionEncoder(CONFIG)
    probe = nn.ModuleDict({name: Linear(CONFIG.embed_dim, len(ATTRIBUTES[name])) for name in SEEN})
    weights = {**dict(encoder.named_parameters()), **{f"probe.{n}": w for n, w in probe.named_parameters()}}
    optimizer = MuonAdamW(*muon_split(weights, adam_only=("embedding", "probe", "norm")))
    rng = np.random.default_rng(21)
    for step in range(STEPS):
        loss, right = _loss(encoder, probe, rng, held_out=False)
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step(3e-3 * cosine(step / STEPS) * min(1.0, (step + 1) / 30))
        if (step + 1) % 100 == 0:
            with torch.no_grad():
                right = _loss(encoder, probe, rng, held_out=True)[1]
            logger.info("clip step %d/%d: loss %.3f, right %s", step + 1, STEPS, float(loss.detach()), right)
    torch.save(encoder.state_dict(), runs / "clip.pt")


def _loss(
    encoder: ClipVisionEncoder, probe: nn.ModuleDict, rng: np.random.Generator, *, held_out: bool
) -> tuple[Tensor, str]:
    side = int(rng.choice([64, 96, 128]))
    scenes = [sample_scene(rng, held_out=held_out) for _ in range(BATCH)]
    embeds = encode_image(encoder, start_pictures(scenes, 64, side)).image_embeds
    loss, report = embeds.new_zeros(()), []
    for name in SEEN:
        targets = torch.tensor([ATTRIBUTES[name].index(getattr(scene, name)) for scene in scenes])
        logits = probe[name](embeds)
        loss = loss + F.cross_entropy(logits, targets)
        report.append(f"{name} {100 * (logits.argmax(1) == targets).float().mean():.0f}")
    return loss, ", ".join(report)
