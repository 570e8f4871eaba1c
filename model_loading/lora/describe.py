"""The text that `wan-director inspect FILE` prints for a LoRA."""

from __future__ import annotations

from collections import Counter

from ...common.printable import printable_name
from ..describe import aligned
from ..files.checkpoint import Checkpoint
from ..files.file_type import human_bytes
from ..files.model_hash import base_words
from ..recognition.kin import other_adapter
from ..recognition.refusals import LOAD_LORA
from .misfits import made_for
from .roles import find_part

# Role of one tensor that every layer of a form has -> what the form is called.
_FORMS = {
    "down": "LoRA",
    "magnitude": "DoRA",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "diff": "differences of weights",
    "diff_b": "differences of biases",
    "diff_m": "differences of modulation",
}
EXTRACTED = "wan_director.extracted"
"""Of which models a file is the difference, in its header."""
_RANKED = frozenset({"down", "hada_w1_b", "lokr_w2_b"})


def describe_lora(checkpoint: Checkpoint, loader: str = LOAD_LORA.words) -> str:
    """What a LoRA file is and for which model, by names and shapes alone: a few lines of 'name: value'.

    Args:
        loader: what the place is called where a user chooses such a file.
    """
    forms: Counter[str] = Counter()
    ranks: set[int] = set()
    for key, info in checkpoint.tensors.items():
        part = find_part(key)
        if part is None:
            continue
        if part.role in _FORMS:
            forms[_FORMS[part.role]] += 1
        if part.role in _RANKED and info.shape:
            ranks.add(info.shape[0])
    other = other_adapter(checkpoint.tensors)
    if other is not None:
        forms = Counter({f"{other[0]}, which is not applied here": len(checkpoint.tensors)})
    extracted, base = checkpoint.metadata.get(EXTRACTED), base_words(checkpoint.metadata)
    lines = [
        ("file", str(checkpoint.path)),
        ("model", "a LoRA, which changes a diffusion model"),
        ("made for", made_for(checkpoint) or _unpublished(checkpoint)),
        ("size", f"{human_bytes(checkpoint.size_bytes)}, {len(checkpoint.tensors):,} tensors"),
        ("changes", ", ".join(f"{count} layers by {form}" for form, count in forms.most_common()) or "nothing known"),
        ("rank", " to ".join(str(rank) for rank in sorted({min(ranks), max(ranks)})) if ranks else "none"),
        *([("trained on", base)] if base else []),
        *([("extracted", printable_name(extracted))] if extracted else []),
        ("belongs in", "models/loras"),
        ("goes with", f"a model it is made for, in {loader}"),
    ]
    return aligned(lines)


def _unpublished(checkpoint: Checkpoint) -> str:
    """The model by the width that most factors take in: that of its tokens."""
    parts = [(find_part(key), info.shape) for key, info in checkpoint.tensors.items()]
    widths = Counter(shape[1] for part, shape in parts if part is not None and part.role == "down" and len(shape) > 1)
    if not widths:
        return "a model of a size that is not known here"
    return f"a model of width {widths.most_common(1)[0][0]}, which no published Wan model has"
