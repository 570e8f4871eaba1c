"""The training loop of the miniatures: on one core, with everything that is not trained as the demo has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from wan_director.common.log import logger
from wan_director.dit.inputs import Conditioning
from wan_director.training import text_stage
from wan_director.training.dit_stage import ADAM_ONLY, noise_levels
from wan_director.training.optimizer import MuonAdamW, average_weights
from wan_director.training.parallel import average_gradients
from wan_director.training.variants.clips import Clips, Encoders, prompts_for
from wan_director.training.variants.lesson import Lesson
from wan_director.training.variants.saving import read_scaled

TEXT_LENGTHS = 48, 512
"""To how many tokens prompts are padded: short ones mostly, which are quick, and as long as they are in use."""
LONG_SHARE = 0.1
DRAWN_AT_ONCE = 128
PROGRESS = 0.5
"""As far on as the training of the demo was, in the choice of noise levels: high ones, where places are decided."""


def learn(lesson: Lesson, models: Path, runs: Path, steps: int, *, goes_on: bool = False) -> None:
    """Trains a miniature and writes it among the models; its clips are kept in `runs`.

    `goes_on`: from its finished file, else from what every one begins with.
    """
    torch.manual_seed(31)
    encoders, rng = Encoders(models), np.random.default_rng(32)
    clips = kept_clips(lesson, encoders, runs)
    model = lesson.begin(models)
    if goes_on:
        model.load_state_dict(read_scaled(models / lesson.file), strict=False)
    for name, weight in model.named_parameters():
        weight.requires_grad_(lesson.learns(name))
    weights: dict[str, Tensor] = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = MuonAdamW(*text_stage.muon_split(weights, adam_only=ADAM_ONLY))
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    losses: list[float] = []
    for step in range(steps):
        batch = clips.picked(rng.integers(len(clips.scenes), size=lesson.batch).tolist())
        long = rng.random() < LONG_SHARE and step > steps // 3
        text = encoders.read(prompts_for(lesson.told(batch.scenes, rng), rng), TEXT_LENGTHS[long])
        clean = lesson.clean(batch)
        noise, sigma = torch.randn_like(clean), noise_levels(len(clean), PROGRESS)
        noisy = torch.lerp(clean, noise, sigma[:, None, None, None, None])
        seen = Conditioning(text, lesson.items(batch, rng))
        answer = model(seen.inputs(lesson.shown(batch).shown(noisy, 1.0), sigma * 1000))
        loss = (answer - lesson.wanted(clean, noise)).square().mean()
        loss.backward()
        average_gradients(weights.values())
        optimizer.step(lesson.rate * min((step + 1) / 50, 1 - step / steps))
        average_weights(average, weights, 0.99, step)
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            logger.info("%s step %d/%d: %.4f", lesson.name, step + 1, steps, np.mean(losses[-50:]))
    lesson.save(average, models)


def kept_clips(lesson: Lesson, encoders: Encoders, runs: Path) -> Clips:
    """The clips of a lesson, drawn and encoded once."""
    path = runs / f"{lesson.name}_clips.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    rng, clips = np.random.default_rng(33), None
    for first in range(0, lesson.clips, DRAWN_AT_ONCE):
        more = lesson.draw(encoders, rng, min(DRAWN_AT_ONCE, lesson.clips - first), False)
        clips = more if clips is None else clips.and_more(more)
        logger.info("%s: %d of %d clips", lesson.name, len(clips.scenes), lesson.clips)
    assert clips is not None, "a lesson has clips"
    runs.mkdir(parents=True, exist_ok=True)
    torch.save(clips, path)
    return clips
