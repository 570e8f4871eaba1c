"""Recognising the models this pack does not run, so that choosing one gets a sentence instead of a stack trace.

Signatures are pieces of tensor names, as published files have them. Source of names: the published checkpoints, and
comfy/model_detection.py and comfy/sd.py of ComfyUI for which names tell families apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from .kin import other_adapter


class Signature(NamedTuple):
    """A foreign model has every one of `pieces` somewhere in its tensor names. `kind`: name of the one it resembles."""

    title: str
    kind: str | None
    pieces: tuple[str, ...]


_LORA_PIECES = (
    ".lora_A.", ".lora_down.", "lora_unet_", ".hada_w1_a", ".lokr_w", ".lora_A_", ".diff_b\n", "lycoris_", ".lora_E",
)  # fmt: skip

# More specific signatures come first: the first match names the file.
SIGNATURES = (
    # Image and video transformers
    Signature("HunyuanVideo", "dit", ("txt_in.individual_token_refiner.blocks.0.",)),
    Signature("HunyuanVideo (diffusers)", "dit", ("context_embedder.token_refiner.refiner_blocks.0.",)),
    Signature("Hunyuan3D", "dit", ("latent_in.weight", "double_blocks.0.")),
    Signature("HunyuanDiT", "dit", ("mlp_t5.0.weight",)),
    Signature("Chroma", "dit", ("distilled_guidance_layer.", "double_blocks.0.")),
    Signature("Flux", "dit", ("double_blocks.0.img_attn.", "single_blocks.0.")),
    Signature("Flux (diffusers)", "dit", ("single_transformer_blocks.0.attn.", "transformer_blocks.0.ff_context.")),
    Signature("Stable Diffusion 3", "dit", ("joint_blocks.0.context_block.attn.qkv.",)),
    Signature("Mochi", "dit", ("t5_yproj.weight",)),
    Signature("PixArt", "dit", ("adaln_single.linear.weight", "pos_embed.proj.weight")),
    Signature("PixArt", "dit", ("t_block.1.weight", "y_embedder.")),
    Signature("LTX-Video", "dit", ("adaln_single.emb.timestep_embedder.", "patchify_proj.weight")),
    Signature("LTX-Video (diffusers)", "dit", ("time_embed.emb.timestep_embedder.", "proj_in.weight")),
    Signature("CogVideoX", "dit", ("patch_embed.proj.weight", "transformer_blocks.0.norm1.linear.weight")),
    Signature("Cosmos", "dit", ("blocks.block0.blocks.0.block.attn.",)),
    Signature("Cosmos Predict2", "dit", ("blocks.0.mlp.layer1.weight",)),
    Signature("Lumina 2 or Z-Image", "dit", ("cap_embedder.1.weight",)),
    Signature("Qwen-Image", "dit", ("transformer_blocks.0.img_mlp.", "txt_norm.weight")),
    Signature("AuraFlow", "dit", ("double_layers.0.attn.w1q.",)),
    Signature("HiDream", "dit", ("caption_projection.0.linear.weight",)),
    Signature("OmniGen2", "dit", ("time_caption_embed.timestep_embedder.",)),
    Signature("ACE-Step", "dit", ("genre_embedder.weight",)),
    Signature("Stable Cascade", "dit", ("clf.1.weight",)),
    Signature("Stable Audio", "dit", ("transformer.rotary_pos_emb.inv_freq",)),
    Signature("Allegro or Open-Sora", "dit", ("adaln_single.emb.timestep_embedder.", "caption_projection.linear_1.")),
    # U-Nets
    Signature("Stable Diffusion XL", "dit", ("conditioner.embedders.1.", "input_blocks.0.0.weight")),
    Signature("Stable Diffusion XL", "dit", ("label_emb.0.0.weight", "input_blocks.0.0.weight")),
    Signature("Stable Diffusion 2", "dit", ("cond_stage_model.model.", "input_blocks.0.0.weight")),
    Signature("Stable Diffusion 1.5", "dit", ("cond_stage_model.transformer.", "input_blocks.0.0.weight")),
    Signature("a ControlNet", "dit", ("input_hint_block.0.weight",)),
    Signature("a ControlNet", "dit", ("controlnet_blocks.0.",)),
    Signature("a Stable Diffusion U-Net", "dit", ("input_blocks.0.0.weight", "middle_block.")),
    Signature("a Stable Diffusion U-Net (diffusers)", "dit", ("down_blocks.0.resnets.0.time_emb_proj.",)),
    Signature("AnimateDiff", "dit", ("motion_modules.0.temporal_transformer.",)),
    # Autoencoders
    Signature("the HunyuanVideo VAE", "vae", ("decoder.conv_in.conv.weight", "decoder.mid")),
    Signature("the LTX-Video VAE", "vae", ("decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",)),
    Signature("the Cosmos VAE", "vae", ("decoder.unpatcher3d.",)),
    Signature("the Mochi VAE", "vae", ("blocks.2.blocks.3.stack.5.weight",)),
    Signature("an image VAE (Stable Diffusion or Flux)", "vae", ("decoder.mid.block_1.conv1.weight",)),
    Signature("an image VAE (diffusers)", "vae", ("decoder.mid_block.resnets.0.conv1.weight",)),
    Signature("a tiny preview autoencoder (TAESD or TAEHV)", "vae", ("decoder.1.weight", "decoder.3.conv.0.weight")),
    Signature("a tiny preview autoencoder (TAESD)", "vae", ("taesd_decoder.1.weight",)),
    # Text and picture encoders
    Signature("a T5 text encoder", "text_encoder", ("encoder.block.0.layer.0.SelfAttention.q.weight",)),
    Signature("a T5 text encoder", "text_encoder", ("blocks.0.attn.q.weight", "token_embedding.weight")),
    Signature("a CLIP text encoder", "text_encoder", ("text_model.encoder.layers.0.", "text_model.final_layer_norm")),
    Signature("a CLIP text encoder", "text_encoder", ("transformer.resblocks.0.ln_1.", "token_embedding.weight")),
    Signature("a T5 text encoder", "text_encoder", ("enc.blk.0.attn_q.weight",)),
    Signature("a language model (Llama, Qwen or Gemma)", "text_encoder", ("blk.0.attn_q.weight", "token_embd.weight")),
    Signature("a language model (Llama, Qwen or Gemma)", "text_encoder", ("model.layers.0.self_attn.q_proj.weight",)),
    Signature("a language model (Llama, Qwen or Gemma)", "text_encoder", ("layers.0.self_attn.q_proj.weight", "embed")),
    Signature("a SigLIP vision encoder", "clip_vision", ("vision_model.embeddings.patch_embedding.bias",)),
    Signature("a CLIP vision encoder of another form", "clip_vision", ("visual.transformer.resblocks.0.",)),
    # Others
    Signature("an IP-Adapter", None, ("ip_adapter.",)),
    Signature("an upscaling model", None, ("body.0.rdb1.conv1.weight",)),
    Signature("an upscaling model", None, ("model.1.sub.0.RDB1.conv1.0.weight",)),
)


def is_lora(names: Collection[str]) -> bool:
    """Whether these tensor names are those of a LoRA, or of its kin that is not applied but lies in the same folder."""
    text = _joined(names)
    return any(piece in text for piece in _LORA_PIECES) or other_adapter(names) is not None


def match(signatures: Iterable[Signature], names: Iterable[str]) -> Signature | None:
    """The first signature whose pieces are all in the names."""
    text = _joined(names)
    return next((signature for signature in signatures if all(piece in text for piece in signature.pieces)), None)


def _joined(names: Iterable[str]) -> str:
    return "\n".join(names) + "\n"
