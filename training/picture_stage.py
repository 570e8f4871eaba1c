"""Stage 4b: goes on from the finished files and learns single pictures, without a text encoder that moves.

The first 11,500 steps knew clips alone: one frame by itself had its colours right and 83 % of its shapes. What was
learned stays learned because every other size is still among the steps.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from wan_director.common.log import logger
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import TEXT_ENCODER
from wan_director.training import lean_dit, text_stage
from wan_director.training.dit_stage import ADAM_ONLY, CONFIG, ShardFolder, flow_loss, noise_levels, padded_lengths
from wan_director.training.export import FILES, write_transformers
from wan_director.training.latents import BUCKETS, Bucket, ShardMaker
from wan_director.training.optimizer import MuonAdamW, average_weights
from wan_director.training.parallel import average_gradients
from wan_director.training.text_stage import token_batch

STEPS = 1200
RATE = 1e-3
PICTURE_SHARE = 0.7
FIRST_SHARDS = 24
SUPPLY_EVERY = 10
LATE = 0.9
"""As far on as the last part of the training before it: all sizes, long prompts, a close look at edges."""


def train(rank: int, processes: int, runs: Path, models: Path) -> None:
    """Trains the transformers in `models` and writes them there again."""
    torch.manual_seed(14)
    unpack(models, runs)
    text = load(TEXT_ENCODER, models / FILES["text_encoder"])
    weights = {name: weight.float().requires_grad_() for name, weight in load_file(models / FILES["i2v"]).items()}
    optimizer = MuonAdamW(*text_stage.muon_split(weights, adam_only=ADAM_ONLY))
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    shards, maker = ShardFolder(runs / "latents"), ShardMaker(runs)
    common, own = np.random.default_rng(141), np.random.default_rng(142 + rank)
    torch.manual_seed(143 + rank)
    losses: dict[str, list[float]] = defaultdict(list)
    while len(list(maker.folder.glob("*.pt"))) < FIRST_SHARDS and maker.make_next(rank, processes):
        pass
    for step in range(STEPS):
        if step % SUPPLY_EVERY == 0:
            maker.make_next(rank, processes)
            shards.refresh()
        bucket = choose_bucket(shards, common)
        batch = shards.batch(bucket, own, long_negatives=bool(common.random() < 0.12))
        with torch.no_grad():
            ids, mask = token_batch(text.tokenizer, [caption.text for caption in batch.captions])
            embedding = text.module(ids, mask).float()
        prompt = lean_dit.make_prompt(embedding, mask, padded_lengths(mask.sum(1), LATE, own))
        halves = {name: weight.bfloat16() for name, weight in weights.items()}
        noise = torch.randn_like(batch.latent)
        loss = flow_loss(halves, batch, prompt, noise_levels(len(noise), LATE), noise)
        loss.backward()
        average_gradients(weights.values())
        optimizer.step(RATE * min((step + 1) / 50, 1 - step / STEPS))
        average_weights(average, weights, 0.99, step)
        losses[bucket.name].append(float(loss.detach()))
        if rank == 0 and (step + 1) % 50 == 0:
            report = ", ".join(f"{name} {np.mean(values[-50:]):.3f}" for name, values in sorted(losses.items()))
            logger.info("picture step %d/%d: %s", step + 1, STEPS, report)
    if rank == 0:
        write_transformers(average, models, CONFIG)
    if dist.is_initialized():
        dist.barrier()


def choose_bucket(shards: ShardFolder, rng: np.random.Generator) -> Bucket:
    """A size for the next step: single pictures in `PICTURE_SHARE` of the steps, the others by their shares."""
    pictures = rng.random() < PICTURE_SHARE
    buckets = [bucket for bucket in BUCKETS if (bucket.frames == 1) == pictures and shards.shards.get(bucket.name)]
    shares = np.array([bucket.share for bucket in buckets])
    return buckets[int(rng.choice(len(buckets), p=shares / shares.sum()))]


def unpack(models: Path, runs: Path) -> None:
    """The checkpoints that making shards needs, from the finished files; the opposite of `export`."""
    for name, prefix in (("vae", ""), ("clip", "visual.")):
        path = runs / f"{name}.pt"
        if not path.exists():
            held: dict[str, Tensor] = load_file(models / FILES["clip_vision" if name == "clip" else name])
            torch.save({key.removeprefix(prefix): weight.float() for key, weight in held.items()}, path)
