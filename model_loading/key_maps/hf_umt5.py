"""Names of the UMT5 encoder in transformers (and in ComfyUI's single files) -> official names."""

from __future__ import annotations

from collections.abc import Iterable

from .renaming import Renaming, Source, Sources

_TIED = "encoder.embed_tokens.weight"

_names = Renaming(
    (r"shared\.weight", r"token_embedding.weight"),
    (r"encoder\.final_layer_norm\.weight", r"norm.weight"),
    (r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.([qkvo])\.weight", r"blocks.\1.attn.\2.weight"),
    (
        r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\.weight",
        r"blocks.\1.pos_embedding.embedding.weight",
    ),
    (r"encoder\.block\.(\d+)\.layer\.0\.layer_norm\.weight", r"blocks.\1.norm1.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight", r"blocks.\1.norm2.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_0\.weight", r"blocks.\1.ffn.gate.0.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_1\.weight", r"blocks.\1.ffn.fc1.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wo\.weight", r"blocks.\1.ffn.fc2.weight"),
)


def from_hf_umt5(keys: Iterable[str]) -> Sources:
    """The embedding may be stored as `shared`, as `encoder.embed_tokens`, or twice."""
    keys = set(keys)
    sources = _names(keys - {_TIED})
    if _TIED in keys and "shared.weight" not in keys:
        sources["token_embedding.weight"] = Source((_TIED,))
    return sources
