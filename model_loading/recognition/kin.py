"""Adapters beside LoRA that are not applied: told by the names of their tensors, and by PEFT's settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...common.errors import CheckpointError

# PEFT begins every tensor of a method with the method's name. Source: huggingface/peft, src/peft/tuners/*/model.py.
_METHODS = {
    "adamss": "AdaMSS", "beft": "BEFT", "boft": "BOFT", "bone": "Bone", "c3a": "C3A", "deft": "DEFT",
    "delora": "DeLoRA", "fourierft": "FourierFT", "frod": "FROD", "glora": "GLoRA", "gralora": "GraLoRA",
    "hira": "HiRA", "hra": "HRA", "ia3": "(IA)\N{SUPERSCRIPT THREE}", "lily": "Lily", "ln_tuning": "LN tuning",
    "miss": "MiSS", "oft": "OFT", "osf": "OSF", "peanut": "PEANuT", "poly": "Poly", "psoft": "PSOFT",
    "pvera": "PVeRA", "randlora": "RandLoRA", "road": "RoAd", "shadow": "Shadow", "shira": "SHiRA",
    "supertuning": "SuperTuning", "tinylora": "TinyLoRA", "trainable_tokens": "trainable tokens",
    "unilora": "Uni-LoRA", "vblora": "VB-LoRA", "vera": "VeRA", "waveft": "WaveFT",
}  # fmt: skip
# The end of a tensor's name -> the method; None where the name has it. LyCORIS names the parts alone.
# Source: KohakuBlueleaf/LyCORIS, lycoris/modules/*.py, weight_list.
_PARTS = tuple(
    (re.compile(rf"(?:{pattern})$"), title)
    for pattern, title in (
        (r"\.oft_blocks", "OFT or BOFT"),
        (r"\.on_input", _METHODS["ia3"]),
        (r"\.(?:a1|a2|b1|b2|bm)\.weight", "GLoRA"),
        (r"\.(?:[qp]_layer\.weight|lambda_layer)", "T-LoRA"),
        (rf"\.({'|'.join(sorted(_METHODS, key=len, reverse=True))})_\w+(?:\.[\w-]+)*", None),
        (r"\.lora_diag(?:\.[\w-]+)?", "KaSA"),
    )
)
_APPLIED = frozenset({"LORA", "LOHA", "LOKR", "ADALORA"})
# Ways to begin that take the first A and B out of the model's own weights: the file fits that changed model only.
_CHANGED_BASE = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "lora_ga": "LoRA-GA", "loftq": "LoftQ"}
_OWN_ARITHMETIC = {
    "kasa_config": "KaSA", "use_qalora": "QALoRA", "use_bdlora": "BD-LoRA", "arrow_config": "Arrow",
    "layer_replication": "layer replication",
}  # fmt: skip


def other_adapter(keys: Iterable[str]) -> tuple[str, str] | None:
    """(title, the first tensor that tells) of an adapter that is no LoRA and not applied; None where there is none."""
    for key in keys:
        for pattern, title in _PARTS:
            found = pattern.search(key)
            if found:
                return title or _METHODS[found[1]], key
    return None


def refuse_other(name: str, keys: Iterable[str]) -> None:
    """Refuses a file of an adapter of another kind.

    Raises:
        CheckpointError: it is one; the sentence names the kind.
    """
    found = other_adapter(keys)
    if found is not None:
        title, key = found
        raise CheckpointError(
            f"{name} is a {title} adapter ({key[:80]!r}), which is not applied here; LoRA, DoRA, LoHa, LoKr, AdaLoRA "
            "and plain differences are. Merge it into the model with the program that trained it, or train a LoRA."
        )


def refuse_settings(name: str, values: Mapping[str, Any]) -> None:
    """Refuses by PEFT's settings what A and B alone do not give.

    Raises:
        CheckpointError: a method that is not applied, or a LoRA that belongs to changed weights.
    """
    method = values.get("peft_type")
    if isinstance(method, str) and method.upper() not in _APPLIED:
        title = _METHODS.get(method.lower(), repr(method[:40]))
        raise CheckpointError(
            f"{name} is a {title} adapter by its settings, which is not applied here; LoRA, DoRA, LoHa, LoKr and "
            "AdaLoRA are. Merge it into the model with the program that trained it, or train a LoRA."
        )
    start = str(values.get("init_lora_weights", "")).lower()
    changed = next((title for mark, title in _CHANGED_BASE.items() if start.startswith(mark)), None)
    if changed is not None:
        raise CheckpointError(
            f"{name} was trained as {changed}: its parts are the difference to a base model that {changed} had changed "
            "before, not to yours. Save it with PEFT's path_initial_model_for_weight_conversion, which makes a plain "
            "LoRA of it, and use that one."
        )
    own = next((title for key, title in _OWN_ARITHMETIC.items() if values.get(key)), None)
    if own is not None:
        raise CheckpointError(
            f"{name} uses {own} (by its settings), which is more than a LoRA and not applied here. Merge it into the "
            "model with PEFT, or train a plain LoRA."
        )
