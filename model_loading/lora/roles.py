"""What one tensor of a LoRA file is, by the end of its name, and which layer it belongs to, by the rest."""

from __future__ import annotations

import re
from typing import NamedTuple

# PEFT puts the adapter's name between ("lora_A.default.weight"), or leaves `weight` away.
_NAMED = r"(?:\.(?!weight$)[\w-]+)?"

# (end of the name, role); the whole name is matched, so the order only matters where two ends overlap.
_ENDS = (
    (rf"\.lora_A{_NAMED}(?:\.weight)?", "down"),
    (rf"\.lora_E{_NAMED}", "gate"),
    (rf"\.lora_B{_NAMED}\.bias", "up_bias"),
    (rf"\.lora_B{_NAMED}(?:\.weight)?", "up"),
    (r"[._]lora[._]down(?:\.default)?\.weight", "down"),
    (r"[._]lora[._]up(?:\.default)?\.weight", "up"),
    (r"[._]lora[._]up\.bias", "up_bias"),
    (r"\.lora_linear_layer\.down\.weight", "down"),
    (r"\.lora_linear_layer\.up\.weight", "up"),
    (r"\.(?:alpha|lora_alpha)", "alpha"),
    (r"\.dora_scale", "magnitude"),
    (rf"\.lora_magnitude_vector{_NAMED}(?:\.weight)?", "magnitude"),
    (r"\.(hada_w[12]_[ab])(?:\.default)?", None),
    (r"\.(lokr_w[12](?:_[ab])?)(?:\.default)?", None),
    (r"\.(?:lora_mid\.weight|hada_t[12]|lokr_t2)", "core"),
    (r"\.(?:diff|w_norm)(?:\.weight)?", "diff"),
    (r"\.(?:diff_b|b_norm)", "diff_b"),
    (r"\.diff_m", "diff_m"),
    # What PEFT trained whole beside the LoRA (modules_to_save, bias); only under its own prefix, see below.
    (r"(?:\.base_layer)?\.weight", "whole"),
    (r"(?:\.base_layer)?\.bias", "whole_bias"),
)
_PEFT_PREFIX = "base_model.model."
_PATTERNS = tuple((re.compile(r"(?P<path>.+?)" + end), role) for end, role in _ENDS)


class Part(NamedTuple):
    """One tensor of a LoRA.

    Attributes:
        path: the name of its layer, as the file spells it.
        role: down, up, up_bias, alpha, magnitude, core (of a Tucker decomposition), diff, diff_b, diff_m (of a
            modulation), hada_w1_a, ..., lokr_w2_b, gate (AdaLoRA's factor of each rank), whole and whole_bias (the
            trained parameter itself).
    """

    path: str
    role: str


def find_part(key: str) -> Part | None:
    """Reads a tensor's name; None if it is none of a LoRA's."""
    for pattern, role in _PATTERNS:
        found = pattern.fullmatch(key)
        if found and (key.startswith(_PEFT_PREFIX) or role not in ("whole", "whole_bias")):
            return Part(found["path"], role or found[2])
    return None
