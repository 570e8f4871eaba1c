"""The official names of transformers, and a few layers that ComfyUI's files have in parts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .renaming import Source, Sources

_PART = re.compile(r"(music_encoder\.\d+\.self_attn\.)([qkv])_proj\.(weight|bias)")


def from_official_dit(keys: Iterable[str]) -> Sources:
    """Wan-Dancer's attention to music has queries, keys and values in one tensor; ComfyUI saves it as three."""
    sources: Sources = {}
    for key in keys:
        part = _PART.fullmatch(key)
        if part is None:
            sources[key] = Source((key,))
        elif part[2] == "q":
            stem, _, leaf = part.groups()
            sources[f"{stem}in_proj_{leaf}"] = Source(tuple(f"{stem}{name}_proj.{leaf}" for name in "qkv"))
    return sources
