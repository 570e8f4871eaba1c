"""A new addition to a model, which changes nothing yet: the factors of a LoRA or DoRA, norms and biases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from ..common.checking import choice_of
from ..common.errors import InvalidInputError
from ..common.records import record
from ..dit.adapters import Adapter, Change, Full, LowRank, parse_blocks
from ..weights.layers import StoringLayer
from .objective import seeded

AdapterKind = Literal["lora", "dora"]
ADAPTER_KINDS: tuple[AdapterKind, ...] = ("lora", "dora")
Targets = Literal["all", "attention", "feed_forward"]
TARGETS: tuple[Targets, ...] = ("all", "attention", "feed_forward")

_BLOCK = re.compile(r"(?:\w+_)?blocks\.(\d+)\.(.+)")
_PARTS = {
    "all": re.compile(r"(self_attn|cross_attn)\.\w+|ffn\.\d"),
    "attention": re.compile(r"(self_attn|cross_attn)\.\w+"),
    "feed_forward": re.compile(r"ffn\.\d"),
}
_NORM = re.compile(r".*\bnorm\w*\.(weight|bias)")


@record
class AdapterSettings:
    """What of a model is learned, and with how many numbers.

    Attributes:
        rank: of the factors of each matrix.
        alpha: their product is scaled by alpha / rank.
        kind: factors alone, or with the lengths of the rows of what they make (DoRA).
        targets: which matrices of the blocks.
        norms, biases: whether those of the blocks are learned, too.
        blocks: "all", or numbers of the trunk's blocks such as "0-9,20".

    Raises:
        InvalidInputError: a rank below 1, an alpha that is not above 0, or a choice that there is not.
    """

    rank: int = 16
    alpha: float = 16.0
    kind: AdapterKind = "lora"
    targets: Targets = "all"
    norms: bool = False
    biases: bool = False
    blocks: str = "all"

    def __post_init__(self) -> None:
        choice_of(self.kind, ADAPTER_KINDS, "kind of adapter")
        choice_of(self.targets, TARGETS, "part of the blocks")
        parse_blocks(self.blocks)
        if self.rank < 1 or not self.alpha > 0:
            raise InvalidInputError(
                f"A LoRA has a rank of 1 or more and an alpha above 0, got {self.rank} and {self.alpha:g}. Use 16 for "
                "both."
            )

    @property
    def is_plain(self) -> bool:
        """Whether it is a LoRA of all matrices of the blocks, the form that every program reads."""
        return (self.kind, self.targets, self.norms, self.biases, self.blocks) == ("lora", "all", False, False, "all")


def new_adapter(name: str, module: nn.Module, settings: AdapterSettings, seed: int) -> Adapter:
    """An adapter that changes nothing yet: of each product one factor is random, the other zero.

    Args:
        name: of the file that it becomes.
        module: the model, whose matrices may be stored in any form.

    Raises:
        InvalidInputError: nothing of the model is chosen.
    """
    changes = dict(_changes(module, settings, seed))
    if not changes:
        raise InvalidInputError(
            f"Of {name} nothing is to be learned: the model has no {settings.targets} matrices in blocks "
            f"{settings.blocks}. Choose 'all' for one of both."
        )
    return Adapter(name, MappingProxyType(changes))


def _changes(module: nn.Module, settings: AdapterSettings, seed: int) -> Iterator[tuple[str, tuple[Change]]]:
    chosen = parse_blocks(settings.blocks)
    for path, layer in module.named_modules():
        found = _BLOCK.fullmatch(path)
        if found is None or (chosen is not None and int(found[1]) not in chosen):
            continue
        if isinstance(layer, nn.Linear):
            if _PARTS[settings.targets].fullmatch(found[2]):
                yield f"{path}.weight", (_low_rank(f"{path}.weight", layer, settings, seed),)
            if settings.biases and layer.bias is not None:
                yield f"{path}.bias", (_difference(layer.bias),)
        elif settings.norms:
            yield from (
                (f"{path}.{leaf}", (_difference(value),))
                for leaf, value in layer.named_parameters(recurse=False)
                if _NORM.fullmatch(f"{path}.{leaf}")
            )


def _low_rank(name: str, layer: nn.Linear, settings: AdapterSettings, seed: int) -> Change:
    """Factors whose product is zero; `down` is that of PEFT and of kohya's trainers: uniform, below 1 / sqrt(in)."""
    device = "meta" if next(layer.parameters(), torch.empty(0)).is_meta else "cpu"
    out, inner, rank = layer.out_features, layer.in_features, settings.rank
    down = torch.empty(rank, inner, device=device)
    if device == "cpu":
        nn.init.uniform_(down, -(inner**-0.5), inner**-0.5, generator=seeded(seed, name))
    delta = LowRank(down, torch.zeros(out, rank, device=device), settings.alpha / rank)
    return Change(delta, _lengths(layer) if settings.kind == "dora" else None)


def _lengths(layer: nn.Linear) -> Tensor:
    """Those of a matrix's rows, [out, 1], float32: with them DoRA begins at the matrix itself."""
    weight = layer.dense_weight() if isinstance(layer, StoringLayer) else layer.weight.detach().float()
    return weight.norm(dim=1, keepdim=True)


def _difference(value: Tensor) -> Change:
    return Change(Full(torch.zeros(value.shape, device="meta" if value.is_meta else "cpu")))
