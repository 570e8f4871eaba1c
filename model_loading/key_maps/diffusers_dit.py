"""Names of the transformer in diffusers' WanTransformer3DModel and its kin -> official names."""

from __future__ import annotations

from collections.abc import Iterable

from .diffusers_animate import from_diffusers_animate
from .renaming import Renaming, Sources

_END = r"\.(weight|bias)"

# Source: huggingface/diffusers, scripts/convert_wan_to_diffusers.py. norm2 and norm3 swap their names: diffusers
# numbers the norms in the order they are applied, the official model puts the one with parameters last.
# The projections of VACE blocks have the name of the model's own head.
_names = Renaming(
    (r"condition_embedder\.time_embedder\.linear_1" + _END, r"time_embedding.0.\1"),
    (r"condition_embedder\.time_embedder\.linear_2" + _END, r"time_embedding.2.\1"),
    (r"condition_embedder\.text_embedder\.linear_1" + _END, r"text_embedding.0.\1"),
    (r"condition_embedder\.text_embedder\.linear_2" + _END, r"text_embedding.2.\1"),
    (r"condition_embedder\.time_proj" + _END, r"time_projection.1.\1"),
    (r"condition_embedder\.image_embedder\.norm1" + _END, r"img_emb.proj.0.\1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.0\.proj" + _END, r"img_emb.proj.1.\1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.2" + _END, r"img_emb.proj.3.\1"),
    (r"condition_embedder\.image_embedder\.norm2" + _END, r"img_emb.proj.4.\1"),
    (r"condition_embedder\.image_embedder\.pos_embed", r"img_emb.emb_pos"),
    (r"scale_shift_table", r"head.modulation"),
    (r"proj_out" + _END, r"head.head.\1"),
    (r"((?:vace_)?blocks\.\d+)\.scale_shift_table", r"\1.modulation"),
    (r"((?:vace_)?blocks\.\d+)\.attn1\.to_([qkv])" + _END, r"\1.self_attn.\2.\3"),
    (r"((?:vace_)?blocks\.\d+)\.attn1\.to_out\.0" + _END, r"\1.self_attn.o.\2"),
    (r"((?:vace_)?blocks\.\d+)\.attn1\.norm_([qk])\.weight", r"\1.self_attn.norm_\2.weight"),
    (r"((?:vace_)?blocks\.\d+)\.attn2\.to_([qkv])" + _END, r"\1.cross_attn.\2.\3"),
    (r"((?:vace_)?blocks\.\d+)\.attn2\.to_out\.0" + _END, r"\1.cross_attn.o.\2"),
    (r"((?:vace_)?blocks\.\d+)\.attn2\.norm_([qk])\.weight", r"\1.cross_attn.norm_\2.weight"),
    (r"((?:vace_)?blocks\.\d+)\.attn2\.add_([kv])_proj" + _END, r"\1.cross_attn.\2_img.\3"),
    (r"((?:vace_)?blocks\.\d+)\.attn2\.norm_added_k\.weight", r"\1.cross_attn.norm_k_img.weight"),
    (r"((?:vace_)?blocks\.\d+)\.norm2" + _END, r"\1.norm3.\2"),
    (r"((?:vace_)?blocks\.\d+)\.norm3" + _END, r"\1.norm2.\2"),
    (r"((?:vace_)?blocks\.\d+)\.ffn\.net\.0\.proj" + _END, r"\1.ffn.0.\2"),
    (r"((?:vace_)?blocks\.\d+)\.ffn\.net\.2" + _END, r"\1.ffn.2.\2"),
    (r"(vace_blocks\.\d+)\.proj_in" + _END, r"\1.before_proj.\2"),
    (r"(vace_blocks\.\d+)\.proj_out" + _END, r"\1.after_proj.\2"),
)


def from_diffusers_dit(keys: Iterable[str]) -> Sources:
    """Names of the trunk one by one, those of Wan-Animate's parts by their own map."""
    return {_names.official(key): source for key, source in from_diffusers_animate(keys).items()}
