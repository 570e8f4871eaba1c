"""Stage 4: trains the 36-channel transformer, and the text encoder with it, on clips encoded by the VAE."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from wan_director.common.families import TINY
from wan_director.common.log import logger
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.text_encoder.umt5 import UMT5Encoder
from wan_director.training import clip_stage, lean_dit, text_stage
from wan_director.training.captions import Caption, caption, negative_prompt
from wan_director.training.latents import BUCKETS, Bucket, Shard, ShardMaker, load_shard
from wan_director.training.optimizer import MuonAdamW, average_weights
from wan_director.training.parallel import average_gradients
from wan_director.training.text_stage import AttributeProbe, attribute_loss, load_tokenizer, mean_embedding, token_batch

CONFIG = DiTConfig(
    dim=192,
    ffn_dim=416,
    heads=4,
    layers=5,
    in_channels=36,
    text_dim=TINY.text_width,
    branches=(ClipBranch(clip_stage.CONFIG.dim),),
)
STEPS = 11500
RATE = 2e-3
TOKENS = 2560
"""Tokens per process and step: 32 clips of 17x64x64."""

IMAGE_SHARE = 0.5
CLIP_SHARE = 0.7
UNPROMPTED_SHARE = 0.1
GIVEN_WEIGHT = 4.0
"""How much more the latent frames with a given picture weigh in the loss: +2.5 dB where they must be copied."""

SAVE_EVERY = 250
FIRST_SHARDS = 14
"""Shards of clips made before the training starts; two more every `SUPPLY_EVERY` steps until all are made."""

SUPPLY_EVERY = 30
ADAM_ONLY = ("embedding", "norm", "modulation", "head", "img_emb", "time_", "probe")


class Batch(NamedTuple):
    """Clean latents with their conditioning; the first `len(clip)` samples have CLIP features."""

    latent: Tensor
    image: Tensor
    clip: Tensor
    scenes: list
    captions: list[Caption]


class Model(NamedTuple):
    """What is trained: transformer weights, text encoder and attribute probe; `weights` names all of them."""

    encoder: UMT5Encoder
    probe: AttributeProbe
    weights: dict[str, Tensor]

    def transformer(self, source: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The transformer's weights in bfloat16, by default the present ones."""
        source = self.weights if source is None else source
        return {name[4:]: weight.bfloat16() for name, weight in source.items() if name.startswith("dit.")}


def train(rank: int, processes: int, runs: Path) -> None:
    """Trains or goes on training; leaves `dit_checkpoint.pt` in `runs`."""
    torch.manual_seed(4)
    model = new_model(runs)
    optimizer = MuonAdamW(*text_stage.muon_split(model.weights, adam_only=ADAM_ONLY))
    average = {name: weight.detach().clone() for name, weight in model.weights.items()}
    done = _resume(runs / "dit_checkpoint.pt", model.weights, optimizer, average)
    tokenizer, shards, maker = load_tokenizer(runs), ShardFolder(runs / "latents"), ShardMaker(runs)
    common, own = np.random.default_rng(done), np.random.default_rng(7 + 1000 * done + rank)
    torch.manual_seed(100 * done + rank)
    losses: dict[str, list[float]] = defaultdict(list)
    nothing_made = not any(maker.folder.glob("*.pt"))
    for _ in range(FIRST_SHARDS // processes if nothing_made else 0):
        maker.make_next(rank, processes)
    for step in range(done, STEPS):
        if (step - done) % SUPPLY_EVERY == 0:
            maker.make_next(rank, processes)
            shards.refresh()
        progress = step / STEPS
        bucket = shards.choose_bucket(common, progress)
        long_negatives = bool(common.random() < 0.12)
        batch = shards.batch(bucket, own, long_negatives=long_negatives)
        loss, flow = _loss(model, tokenizer, batch, progress, own)
        loss.backward()
        average_gradients(model.weights.values())
        optimizer.step(learning_rate(step))
        average_weights(average, model.weights, 0.995, step)
        losses[bucket.name].append(flow)
        if rank == 0 and (step + 1) % 50 == 0:
            report = ", ".join(f"{name} {np.mean(values[-50:]):.3f}" for name, values in sorted(losses.items()))
            logger.info("dit step %d/%d: %s", step + 1, STEPS, report)
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == STEPS):
            state = {"step": step + 1, "weights": model.weights, "average": average, "optimizer": optimizer.state()}
            torch.save(state, runs / "dit_checkpoint.part")
            (runs / "dit_checkpoint.part").rename(runs / "dit_checkpoint.pt")
    if dist.is_initialized():
        dist.barrier()


def learning_rate(step: int) -> float:
    """A straight line to zero after a warm-up."""
    return RATE * min((step + 1) / 100, 1 - step / STEPS)


def new_model(runs: Path) -> Model:
    """An untrained transformer with the text encoder of stage 2."""
    transformer = WanDiT(CONFIG)
    for name, weight in transformer.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif name.startswith("time_"):
            nn.init.normal_(weight, std=0.02)
        elif weight.dim() >= 2 and "modulation" not in name:
            nn.init.xavier_uniform_(weight.flatten(1))
    nn.init.zeros_(transformer.head.head.weight)
    saved = torch.load(runs / "text.pt", weights_only=True)
    encoder, probe = UMT5Encoder(text_stage.CONFIG), AttributeProbe()
    encoder.load_state_dict(saved["encoder"])
    probe.load_state_dict(saved["probe"])
    parts = {"dit": transformer, "text": encoder, "probe": probe}
    weights = {f"{part}.{name}": weight for part, module in parts.items() for name, weight in module.named_parameters()}
    return Model(encoder, probe, weights)


class ShardFolder:
    """The shards made so far, by size."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shards: dict[str, dict[str, Shard]] = defaultdict(dict)

    def refresh(self) -> None:
        """Loads what is new; all processes of a group have finished theirs before."""
        if dist.is_initialized():
            dist.barrier()
        for path in sorted(self.folder.glob("*.pt")):
            size = path.stem.split("_")[0]
            if path.stem not in self.shards[size]:
                self.shards[size][path.stem] = load_shard(path)

    def choose_bucket(self, rng: np.random.Generator, progress: float) -> Bucket:
        """A size for the next step; at first mostly the first one, which is fast and teaches most."""
        shares = np.array([bucket.share for bucket in BUCKETS])
        if progress < 0.35:
            shares[1:] *= 0.25
        bucket = BUCKETS[int(rng.choice(len(BUCKETS), p=shares / shares.sum()))]
        return bucket if self.shards.get(bucket.name) else BUCKETS[0]

    def batch(self, bucket: Bucket, rng: np.random.Generator, *, long_negatives: bool) -> Batch:
        """Random clips of one size, those with CLIP features first."""
        shards = list(self.shards[bucket.name].values())
        count = max(4, TOKENS // bucket.tokens)
        picks = []
        for _ in range(count):
            shard = shards[int(rng.integers(len(shards)))]
            index = int(rng.integers(len(shard.scenes)))
            with_image = rng.random() < IMAGE_SHARE
            picks.append((shard, index, with_image, with_image and shard.starts[index] and rng.random() < CLIP_SHARE))
        picks.sort(key=lambda pick: not pick[3])
        scenes = [shard.scenes[index] for shard, index, _, _ in picks]
        clip = [shard.clip[index].float() for shard, index, _, looks in picks if looks]
        return Batch(
            latent=torch.stack([shard.latent[index] for shard, index, _, _ in picks]).float(),
            image=torch.stack([shard.image[index] * with_image for shard, index, with_image, _ in picks]).float(),
            clip=torch.stack(clip) if clip else torch.zeros(0, 17, clip_stage.CONFIG.dim),
            scenes=scenes,
            captions=[_prompt(scene, rng, long_negatives=long_negatives) for scene in scenes],
        )


def _prompt(scene, rng: np.random.Generator, *, long_negatives: bool) -> Caption:
    if rng.random() < UNPROMPTED_SHARE:
        return Caption(negative_prompt(rng, short=not long_negatives), frozenset())
    return caption(scene, rng)


def noise_levels(count: int, progress: float) -> Tensor:
    """Sigmas [count]: logit-normal with some uniform ones, moved by one of several shifts.

    High sigmas (shift 7) decide colour and layout of flat scenes, low ones the edges; one shift alone starves one of
    them. The last part of the training looks harder at the edges.
    """
    shifts = torch.tensor((7.0, 2.0) if progress < 0.6 else (7.0, 2.0, 1.0))
    shift = shifts[torch.randint(len(shifts), (count,))]
    sigma = torch.where(torch.rand(count) < 0.15, torch.rand(count), torch.randn(count).sigmoid())
    return shift * sigma / (1 + (shift - 1) * sigma)


def padded_lengths(real: Tensor, progress: float, rng: np.random.Generator) -> Tensor:
    """Lengths the prompts are padded to: short at first, which lets the words be heard; at last mostly 512."""
    longest = 48 * (512 / 48) ** min(1.0, progress / 0.4)
    lengths = torch.from_numpy(np.exp(rng.uniform(np.log(24), np.log(longest), len(real)))).long()
    full = torch.from_numpy(rng.random(len(real)) < 0.6) & (progress > 0.4)
    return torch.maximum(torch.where(full, 512, lengths), real)


def _loss(model: Model, tokenizer, batch: Batch, progress: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    ids, mask = token_batch(tokenizer, [text.text for text in batch.captions])
    embedding = model.encoder(ids, mask)
    named = [index for index, text in enumerate(batch.captions) if text.named]
    probe_loss = attribute_loss(
        model.probe,
        mean_embedding(embedding, mask)[named],
        [batch.scenes[index] for index in named],
        [batch.captions[index] for index in named],
    )
    prompt = lean_dit.make_prompt(embedding, mask, padded_lengths(mask.sum(1), progress, rng))
    sigma = noise_levels(len(batch.latent), progress)
    flow = flow_loss(model.transformer(), batch, prompt, sigma, torch.randn_like(batch.latent))
    return flow + 0.05 * probe_loss, float(flow.detach())


def flow_loss(
    weights: dict[str, Tensor], batch: Batch, prompt: lean_dit.Prompt, sigma: Tensor, noise: Tensor
) -> Tensor:
    """Mean squared error of the velocity (noise - clean); given frames, which must be copied exactly, weigh more."""
    place = sigma[:, None, None, None, None]
    noisy = torch.lerp(batch.latent, noise, place)
    clip = batch.clip if len(batch.clip) else None
    inputs = torch.cat([noisy, batch.image], dim=1)
    output = lean_dit.velocity(weights, CONFIG, inputs, sigma * 1000, prompt, clip)
    given = batch.image[:, :4].amax(1, keepdim=True)  # [B, 1, T, h, w], 1 in latent frames with a given picture
    weight = 1 + (GIVEN_WEIGHT - 1) * given
    return (weight * (output - noise + batch.latent).square()).mean()


def _resume(path: Path, weights: dict[str, Tensor], optimizer: MuonAdamW, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(state["weights"][name])
            average[name].copy_(state["average"][name])
    optimizer.load(state["optimizer"])
    return state["step"]
