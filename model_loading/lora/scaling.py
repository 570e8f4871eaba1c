"""By what a LoRA is multiplied: alpha / rank, or as the file's own metadata says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...common.errors import CheckpointError
from ..checkpoint import Checkpoint

_DIFFUSERS_KEY = "lora_adapter_metadata"
_PEFT_CONFIG = "adapter_config.json"
_MAX_CONFIG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the metadata says of alpha.

    Attributes:
        alpha: for all layers, unless a layer has its own; None: alpha = rank.
        alphas: end of a layer's name -> alpha.
        rank_stabilised: alpha is divided by the root of the rank. Only ever true where the file says so: most
            files with PEFT's names (`base_model.model.`) are ordinary ones.
        unranked: the factor of layers without a rank; PEFT scales a LoKr of two whole matrices too.
    """

    alpha: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False
    unranked: float = 1.0

    def scale(self, path: str, rank: int | None, own_alpha: float | None) -> float:
        """The factor of one layer.

        Args:
            path: the layer's name in the file.
            rank: None where alpha has no effect.
            own_alpha: the layer's own alpha tensor, which already is what its rank is to be divided into.
        """
        if rank is None:
            return self.unranked
        if own_alpha is not None:
            return own_alpha / rank
        named = (alpha for end, alpha in self.alphas.items() if path == end or path.endswith("." + end))
        alpha = next(named, self.alpha)
        alpha = float(rank) if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_scaling(checkpoint: Checkpoint) -> Scaling:
    """The metadata of diffusers (in the header) or PEFT (`adapter_config.json` beside `adapter_model.safetensors`).

    Source: huggingface/diffusers loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY; huggingface/peft LoraConfig.

    Raises:
        CheckpointError: it is there but cannot be read.
    """
    name = checkpoint.path.name
    written = checkpoint.metadata.get(_DIFFUSERS_KEY)
    beside = checkpoint.path.with_name(_PEFT_CONFIG)
    if written is None and name.startswith("adapter_model.") and beside.is_file():
        if beside.stat().st_size > _MAX_CONFIG_BYTES:
            raise CheckpointError(f"{_PEFT_CONFIG} beside {name} is far too big for a table of settings: remove it.")
        written = beside.read_text(encoding="utf-8", errors="replace")
    if written is None:
        return _scaling(name, checkpoint.metadata)
    try:
        values = json.loads(written)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise CheckpointError(f"{name}: its LoRA settings ({_DIFFUSERS_KEY}) are no JSON table: download it again.")
    return _scaling(name, {str(key).removeprefix("transformer."): value for key, value in values.items()})


def _scaling(name: str, values: Mapping[str, Any]) -> Scaling:
    is_lycoris = values.get("peft_type") in ("LOHA", "LOKR")
    written = values.get("alpha" if is_lycoris else "lora_alpha")
    alpha = None if written is None else _number(name, written)
    pattern = values.get("alpha_pattern")
    return Scaling(
        alpha,
        {str(end): _number(name, each) for end, each in pattern.items()} if isinstance(pattern, dict) else {},
        str(values.get("use_rslora", False)).lower() == "true",
        alpha / _number(name, values.get("r")) if is_lycoris and alpha and values.get("r") else 1.0,
    )


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CheckpointError(
            f"{name}: its LoRA settings give {str(value)[:40]!r} as alpha or rank, which is no number: "
            "download it again."
        )
    return number
