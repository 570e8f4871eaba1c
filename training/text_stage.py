"""Stage 2: the tokenizer, and a text encoder that knows which word belongs to which."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Linear
from wan_director.common.families import TINY
from wan_director.common.log import logger
from wan_director.text_encoder.tokenizer import Tokenizer
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.training.captions import NEGATIVES, Caption, caption
from wan_director.training.optimizer import MuonAdamW, cosine
from wan_director.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES, SPEEDS, Scene, sample_scene

CONFIG = UMT5Config(vocab=512, dim=TINY.text_width, attention_dim=128, ffn_dim=256, heads=4, layers=2)
STEPS = 500
BATCH = 96
ATTRIBUTES = {
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "speed": SPEEDS,
    "size": SIZES,
}


class AttributeProbe(nn.Module):
    """Reads the attributes off the mean text embedding; thrown away after training."""

    def __init__(self, width: int = TINY.text_width):
        super().__init__()
        self.heads = nn.ModuleDict({name: Linear(width, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, mean_embedding: Tensor) -> dict[str, Tensor]:
        """[B, D] -> logits [B, values] of each attribute."""
        return {name: head(mean_embedding) for name, head in self.heads.items()}


def train_tokenizer(runs: Path) -> bytes:
    """A sentencepiece unigram model of the captions' words, with a byte for everything else; saved in `runs`."""
    import sentencepiece

    rng = np.random.default_rng(3)
    lines = [caption(sample_scene(rng), rng).text for _ in range(30000)] + list(NEGATIVES[2:]) * 20
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=CONFIG.vocab,
        byte_fallback=True, normalization_rule_name="identity", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        character_coverage=0.999, hard_vocab_limit=True, num_threads=1, minloglevel=2,
    )  # fmt: skip
    (runs / "spiece.model").write_bytes(model.getvalue())
    return model.getvalue()


def load_tokenizer(runs: Path) -> Tokenizer:
    """The tokenizer that `train_tokenizer` left in `runs`."""
    return Tokenizer.from_spiece((runs / "spiece.model").read_bytes())


def token_batch(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask of some texts, padded to the longest: two [B, L] tensors."""
    rows = [tokenizer.encode(text)[-512:] for text in texts]
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def new_encoder() -> UMT5Encoder:
    """An untrained encoder with T5's initial scales, three of whose heads look at the neighbouring words.

    A random T5 of two layers stays a bag of words for thousands of steps ("red on blue" and "blue on red" are the
    same to it); with this start it binds colours to their nouns within some hundred steps.
    """
    encoder = UMT5Encoder(CONFIG)
    head_width = CONFIG.attention_dim // CONFIG.heads
    for name, weight in encoder.named_parameters():
        if name.endswith("attn.q.weight"):
            nn.init.normal_(weight, std=(CONFIG.dim * head_width) ** -0.5)
        elif "pos_embedding" in name:
            nn.init.normal_(weight, std=0.05)
            half = CONFIG.buckets // 2  # bucket n: n places to the left, half + n: n places to the right
            with torch.no_grad():
                weight[1, 0] += 4
                weight[half + 1, 1] += 4
                weight[2, 2] += 4
                weight[half + 2, 2] += 4
        elif name.startswith("token_embedding"):
            nn.init.normal_(weight, std=1.0)
        elif weight.dim() == 2:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return encoder


def attribute_loss(probe: AttributeProbe, mean: Tensor, scenes: list[Scene], captions: list[Caption]) -> Tensor:
    """Cross-entropy of the attributes that the captions name."""
    loss = mean.new_zeros(())
    for name, logits in probe(mean).items():
        loss = loss + F.cross_entropy(logits, attribute_targets(name, scenes, captions), ignore_index=-100)
    return loss


def attribute_targets(name: str, scenes: list[Scene], captions: list[Caption]) -> Tensor:
    """Index of the attribute's value, -100 where the caption does not name it."""
    values = ATTRIBUTES[name]
    return torch.tensor(
        [values.index(getattr(scene, name)) if name in text.named else -100 for scene, text in zip(scenes, captions)]
    )


def mean_embedding(embedding: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens: [B, L, D] -> [B, D]."""
    return (embedding * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def muon_split(weights: dict[str, Tensor], *, adam_only: tuple[str, ...]) -> tuple[dict, dict]:
    """Matrices for Muon, and the rest (with everything named in `adam_only`) for AdamW."""
    muon = {
        name: weight for name, weight in weights.items() if weight.dim() >= 2 and not any(x in name for x in adam_only)
    }
    return muon, {name: weight for name, weight in weights.items() if name not in muon}


def train(runs: Path) -> None:
    """Trains the encoder to tell the attributes apart; leaves `text.pt` (encoder and probe) in `runs`."""
    torch.manual_seed(1)
    tokenizer = Tokenizer.from_spiece(train_tokenizer(runs))
    encoder, probe = new_encoder(), AttributeProbe()
    weights = {**dict(encoder.named_parameters()), **{f"probe.{n}": w for n, w in probe.named_parameters()}}
    optimizer = MuonAdamW(*muon_split(weights, adam_only=("embedding", "probe", "norm")))
    rng = np.random.default_rng(11)
    for step in range(STEPS):
        scenes = [sample_scene(rng) for _ in range(BATCH)]
        captions = [caption(scene, rng) for scene in scenes]
        ids, mask = token_batch(tokenizer, [text.text for text in captions])
        loss = attribute_loss(probe, mean_embedding(encoder(ids, mask), mask), scenes, captions)
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step(3e-3 * cosine(step / STEPS) * min(1.0, (step + 1) / 30))
        if (step + 1) % 100 == 0:
            right = accuracy(encoder, probe, tokenizer)
            logger.info("text step %d/%d: loss %.3f, right %s", step + 1, STEPS, float(loss.detach()), right)
    torch.save({"encoder": encoder.state_dict(), "probe": probe.state_dict()}, runs / "text.pt")


@torch.no_grad()
def accuracy(encoder: UMT5Encoder, probe: AttributeProbe, tokenizer: Tokenizer, count: int = 128) -> str:
    """Per cent of held-out scenes whose named attributes the probe reads right, per attribute."""
    rng = np.random.default_rng(99)
    scenes = [sample_scene(rng, held_out=True) for _ in range(count)]
    captions = [caption(scene, rng) for scene in scenes]
    ids, mask = token_batch(tokenizer, [text.text for text in captions])
    report = []
    for name, logits in probe(mean_embedding(encoder(ids, mask), mask)).items():
        targets = attribute_targets(name, scenes, captions)
        named = targets >= 0
        report.append(f"{name} {100 * (logits.argmax(1) == targets)[named].float().mean():.0f}")
    return ", ".join(report)
