"""Every known way to name the tensors of each kind of model: how to recognise it, and the map to official names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from .diffusers_dit import from_diffusers_dit
from .diffusers_vae import from_diffusers_vae
from .hf_clip import from_hf_clip
from .hf_umt5 import from_hf_umt5
from .llama_umt5 import from_llama_umt5
from .official_dit import from_official_dit
from .renaming import KeyMap, Renaming, same_names

Naming = Literal["official", "diffusers", "hf", "comfy", "llama"]

_COMPILED = "_orig_mod."


class Layout(NamedTuple):
    """One naming of one kind of model. A file has it if all `markers` are there behind one of the `prefixes`."""

    naming: Naming
    prefixes: tuple[str, ...]
    markers: tuple[str, ...]
    to_official: KeyMap = same_names

    def fits(self, prefix: str, names: Collection[str]) -> bool:
        """Whether `names` have this layout behind `prefix`."""
        return all(prefix + marker in names for marker in self.markers)

    def all_prefixes(self, names: Collection[str]) -> list[str]:
        """Every prefix, in alphabetical order, behind which `names` have this layout."""
        first = self.markers[0]
        prefixes = {name.removesuffix(first) for name in names if name.endswith(first)}
        return sorted(prefix for prefix in prefixes if prefix[-1:] in ("", ".") and self.fits(prefix, names))


_DIT_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.")
_VAE_PREFIXES = ("", "model.", "vae.", "first_stage_model.")
_TEXT_PREFIXES = ("", "model.", "umt5xxl.transformer.", "text_encoders.umt5xxl.transformer.")
_CLIP_PREFIXES = ("", "visual.", "model.visual.", "clip_vision.")

DIT_LAYOUTS = (
    Layout(
        "official",
        _DIT_PREFIXES,
        ("patch_embedding.weight", "head.modulation", "blocks.0.self_attn.q.weight"),
        from_official_dit,
    ),
    Layout(
        "diffusers",
        _DIT_PREFIXES,
        ("patch_embedding.weight", "scale_shift_table", "blocks.0.attn1.to_q.weight", "blocks.0.attn2.to_q.weight"),
        from_diffusers_dit,
    ),
)
VACE_MODULE_LAYOUTS = (
    Layout(
        "official",
        _DIT_PREFIXES,
        ("vace_patch_embedding.weight", "vace_blocks.0.after_proj.weight"),
    ),
)
SPEED_MODULE_LAYOUTS = (
    Layout(
        "official",
        ("", "motion_controller."),
        ("linear.0.weight", "linear.2.weight", "linear.4.weight"),
        Renaming((r"linear\..+", r"motion_controller.\g<0>")),
    ),
)
UNI3C_MODULE_LAYOUTS = (
    Layout(
        "official",
        ("", "model."),
        ("controlnet_patch_embedding.weight", "controlnet_blocks.0.ffn.0.weight", "proj_out.0.weight"),
        Renaming(
            (r"(controlnet_blocks\.\d+\.self_attn)\.to_([qkv])\.(.+)", r"\1.\2.\3"),
            (r"(controlnet_blocks\.\d+\.self_attn)\.to_out\.0\.(.+)", r"\1.o.\2"),
        ),
    ),
)
INFINITETALK_MODULE_LAYOUTS = (
    Layout(
        "official",
        _DIT_PREFIXES,
        ("audio_proj.proj1.weight", "audio_proj.proj1_vf.weight", "blocks.0.audio_cross_attn.kv_linear.weight"),
    ),
)
VAE_LAYOUTS = (
    Layout("official", _VAE_PREFIXES, ("encoder.conv1.weight", "decoder.middle.0.residual.0.gamma")),
    Layout(
        "diffusers",
        _VAE_PREFIXES,
        ("encoder.conv_in.weight", "decoder.mid_block.resnets.0.norm1.gamma", "quant_conv.weight"),
        from_diffusers_vae,
    ),
)
TEXT_ENCODER_LAYOUTS = (
    Layout(
        "official",
        _TEXT_PREFIXES,
        ("token_embedding.weight", "blocks.0.attn.q.weight", "blocks.0.pos_embedding.embedding.weight"),
    ),
    Layout(
        "hf",
        _TEXT_PREFIXES,
        (
            "encoder.block.0.layer.0.SelfAttention.q.weight",
            # Every layer of UMT5 has its own position bias; a T5 has one, in layer 0.
            "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        from_hf_umt5,
    ),
    Layout("llama", ("",), ("enc.blk.0.attn_q.weight", "enc.blk.1.attn_rel_b.weight"), from_llama_umt5),
)
CLIP_VISION_LAYOUTS = (
    Layout("official", _CLIP_PREFIXES, ("cls_embedding", "transformer.0.attn.to_qkv.weight")),
    Layout(
        "hf",
        _CLIP_PREFIXES,
        ("vision_model.embeddings.class_embedding", "vision_model.encoder.layers.0.self_attn.q_proj.weight"),
        from_hf_clip,
    ),
)

AUDIO_ENCODER_LAYOUTS = (
    Layout(
        "official",
        ("", "wav2vec2.", "model.wav2vec2."),
        ("feature_extractor.conv_layers.0.conv.weight", "feature_projection.projection.weight"),
        Renaming(
            (r"(encoder\.pos_conv_embed\.conv\.)weight_g", r"wav2vec2.\1parametrizations.weight.original0"),
            (r"(encoder\.pos_conv_embed\.conv\.)weight_v", r"wav2vec2.\1parametrizations.weight.original1"),
            (r".+", r"wav2vec2.\g<0>"),
        ),
    ),
    Layout(
        "official",
        ("", "model."),
        ("encoder.embed_positions.weight", "encoder.conv1.weight", "encoder.layers.0.fc1.weight"),
    ),
)
PREVIEW_DECODER_LAYOUTS = (
    Layout(
        "official",
        ("", "taehv.", "model."),
        ("decoder.1.weight", "decoder.3.conv.0.weight", "decoder.7.conv.weight", "decoder.22.bias"),
    ),
)


def plain_name(key: str) -> str:
    """`key` without the marks that torch.compile leaves in names."""
    return key.replace(_COMPILED, "")
