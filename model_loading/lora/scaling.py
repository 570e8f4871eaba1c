"""By what a LoRA is multiplied: alpha / rank, or as the file's own metadata says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ...common.errors import CheckpointError
from ...common.log import logger
from ...common.records import record
from ..files.checkpoint import Checkpoint
from ..recognition.kin import refuse_settings
from .names import strip_prefixes
from .patterns import layer_matcher

_DIFFUSERS_KEY = "lora_adapter_metadata"
_PEFT_CONFIG, _PEFT_PREFIX = "adapter_config.json", "base_model.model."
_MAX_CONFIG_BYTES = 1_000_000


@record
class Scaling:
    """What the metadata says of alpha.

    Attributes:
        alpha: for all layers, unless a layer has its own; None: alpha = rank.
        alphas: (whether a layer's name is meant, its alpha); the first that means it counts.
        rank_stabilised: alpha is divided by the root of the rank. Only ever true where the file says so: most
            files with PEFT's names (`base_model.model.`) are ordinary ones.
        unranked: the factor of layers without a rank; PEFT scales a LoKr of two whole matrices too.
        rank_offset: added to the rank that alpha is divided by; AdaLoRA's is 1e-5.
    """

    alpha: float | None = None
    alphas: tuple[tuple[Callable[[str], bool], float], ...] = ()
    rank_stabilised: bool = False
    unranked: float = 1.0
    rank_offset: float = 0.0

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
        name = strip_prefixes(path)
        alpha = next((alpha for means, alpha in self.alphas if means(name)), self.alpha)
        alpha = float(rank) if alpha is None else alpha
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank + self.rank_offset)


def read_scaling(checkpoint: Checkpoint) -> Scaling:
    """The metadata of diffusers (in the header) or PEFT (`adapter_config.json` beside `adapter_model.safetensors`).

    Source: huggingface/diffusers loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY; huggingface/peft LoraConfig.

    Raises:
        CheckpointError: it is there but cannot be read, or says that the adapter is of a kind that is not applied.
    """
    name = checkpoint.path.name
    written = checkpoint.metadata.get(_DIFFUSERS_KEY)
    beside = checkpoint.path.with_name(_PEFT_CONFIG)
    if written is None and name.startswith("adapter_model.") and beside.is_file():
        if beside.stat().st_size > _MAX_CONFIG_BYTES:
            raise CheckpointError(f"{_PEFT_CONFIG} beside {name} is far too big for a table of settings: remove it.")
        written = beside.read_text(encoding="utf-8", errors="replace")
    if written is None:
        _tell_of_assumption(checkpoint)
        return _scaling(name, checkpoint.metadata)
    try:
        values = json.loads(written)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise CheckpointError(f"{name}: its LoRA settings ({_DIFFUSERS_KEY}) are no JSON table: download it again.")
    return _scaling(name, {str(key).removeprefix("transformer."): value for key, value in values.items()})


def _tell_of_assumption(checkpoint: Checkpoint) -> None:
    """PEFT writes alpha beside the file only, so that one that was renamed has lost it."""
    keys = checkpoint.tensors
    if any(key.startswith(_PEFT_PREFIX) and ".lora_A" in key for key in keys) and not any(
        key.endswith(".alpha") for key in keys
    ):
        logger.info(
            "%s says nothing of alpha: it is taken to be the rank (scale 1). If it was trained with another, keep it "
            "under the name adapter_model.safetensors with PEFT's %s beside it.",
            checkpoint.path.name, _PEFT_CONFIG,
        )  # fmt: skip


def _scaling(name: str, values: Mapping[str, Any]) -> Scaling:
    refuse_settings(name, values)
    is_lycoris = values.get("peft_type") in ("LOHA", "LOKR")
    written = values.get("alpha" if is_lycoris else "lora_alpha")
    alpha = None if written is None else _number(name, written)
    pattern = values.get("alpha_pattern")
    return Scaling(
        alpha,
        _alphas(name, pattern) if isinstance(pattern, dict) else (),
        str(values.get("use_rslora", False)).lower() == "true",
        alpha / _number(name, values.get("r")) if is_lycoris and alpha and values.get("r") else 1.0,
        1e-5 if values.get("peft_type") == "ADALORA" else 0.0,
    )


def _alphas(name: str, patterns: Mapping[str, Any]) -> tuple[tuple[Callable[[str], bool], float], ...]:
    alphas = []
    for pattern, alpha in patterns.items():
        matcher = layer_matcher(pattern.removeprefix("transformer."))
        if matcher is None:
            raise CheckpointError(
                f"{name}: its LoRA settings give an alpha for the layers {pattern[:80]!r}, which is no pattern that is "
                "tried here: at most 200 characters, three repetitions, no look-around. Write out the layers' names."
            )
        alphas.append((matcher, _number(name, alpha)))
    return tuple(alphas)


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
