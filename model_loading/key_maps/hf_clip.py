"""Names of the CLIP vision tower in transformers (and in ComfyUI's `clip_vision_h`) -> official names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .renaming import Renaming, Source, Sources

_END = r"\.(weight|bias)"
_LAYER = r"vision_model\.encoder\.layers\.(\d+)\."
_PARTS_OF_QKV = ("q_proj", "k_proj", "v_proj")
_Q = re.compile(_LAYER + r"self_attn\.q_proj" + _END)
_KV = re.compile(_LAYER + r"self_attn\.[kv]_proj" + _END)

_names = Renaming(
    (r"vision_model\.embeddings\.class_embedding", r"cls_embedding"),
    (r"vision_model\.embeddings\.position_embedding\.weight", r"pos_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", r"patch_embedding.weight"),
    (r"vision_model\.pre_?layrnorm" + _END, r"pre_norm.\1"),  # the misspelling is transformers'
    (r"vision_model\.post_layernorm" + _END, r"post_norm.\1"),
    (_LAYER + r"layer_norm1" + _END, r"transformer.\1.norm1.\2"),
    (_LAYER + r"layer_norm2" + _END, r"transformer.\1.norm2.\2"),
    (_LAYER + r"self_attn\.out_proj" + _END, r"transformer.\1.attn.proj.\2"),
    (_LAYER + r"mlp\.fc1" + _END, r"transformer.\1.mlp.0.\2"),
    (_LAYER + r"mlp\.fc2" + _END, r"transformer.\1.mlp.2.\2"),
)


def from_hf_clip(keys: Iterable[str]) -> Sources:
    """Joins q, k and v into the official `to_qkv`, and turns `visual_projection` into the official `head`."""
    sources: Sources = {}
    for key in keys:
        query = _Q.fullmatch(key)
        if query:
            official = f"transformer.{query[1]}.attn.to_qkv.{query[2]}"
            sources[official] = Source(tuple(key.replace("q_proj", part) for part in _PARTS_OF_QKV))
        elif key == "visual_projection.weight":
            sources["head"] = Source((key,), transposed=True)
        elif not _KV.fullmatch(key):
            sources[_names.official(key)] = Source((key,))
    return sources
