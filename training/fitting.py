"""The loop that trains a small variant, and prompts for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.common.log import logger
from wan_director.model_loading.build import load
from wan_director.model_loading.kinds import TEXT_ENCODER
from wan_director.training import small, text_stage
from wan_director.training.dit_stage import ADAM_ONLY
from wan_director.training.export import FILES
from wan_director.training.optimizer import MuonAdamW, average_weights
from wan_director.training.text_stage import token_batch

RATE = 2.5e-3
ROUNDED_FROM = 0.6
"""The part of the training from which on weights are rounded."""
SAVE_EVERY = 100


class Texts:
    """The text encoder of the finished demo model, held still."""

    def __init__(self, models: Path) -> None:
        self._encoder = load(TEXT_ENCODER, models / FILES["text_encoder"])

    @torch.no_grad()
    def encoded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [B, L, width] of prompts, zero behind each one's end, and their mask [B, L]."""
        ids, mask = token_batch(self._encoder.tokenizer, list(texts))
        return self._encoder.module(ids, mask).float() * mask.unsqueeze(-1), mask

    def padded(self, texts: Sequence[str], rng: np.random.Generator) -> Tensor:
        """The embeddings with some more zero rows, as many for all, since a model sees 512 rows in use."""
        embedding, _ = self.encoded(texts)
        longer = int(rng.choice((24, 48, 96, 512), p=(0.45, 0.35, 0.17, 0.03)))
        return F.pad(embedding, (0, 0, 0, max(0, longer - embedding.shape[1])))


def fit(
    weights: dict[str, Tensor],
    loss_of: Callable[[dict[str, Tensor], float], Tensor],
    steps: int,
    checkpoint: Path,
    rate: float = RATE,
) -> dict[str, Tensor]:
    """The running average of the weights after so many steps; on the way it lies in `checkpoint`.

    Args:
        weights: float32, which are changed.
        loss_of: from the weights in bfloat16 and the part of the training that is done to the loss of one batch.
    """
    optimizer = MuonAdamW(*text_stage.muon_split(weights, adam_only=ADAM_ONLY))
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    losses: list[float] = []
    for step in range(steps):
        progress = step / steps
        used = small.rounded(weights) if progress >= ROUNDED_FROM else weights
        loss = loss_of({name: weight.bfloat16() for name, weight in used.items()}, progress)
        loss.backward()
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step(rate * min((step + 1) / 50, 1 - progress))
        average_weights(average, weights, small.MEMORY, step)
        losses.append(float(loss.detach()))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            logger.info("%s step %d/%d: %.4f", checkpoint.stem, step + 1, steps, np.mean(losses[-SAVE_EVERY:]))
            torch.save(average, checkpoint)
    return average
