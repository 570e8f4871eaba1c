"""Files of other models are named, whichever loader they were put into; nothing but a sentence comes out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wan_director.common.errors import CheckpointError
from wan_director.model_loading.kinds import MODEL_KINDS
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint

SD_UNET = ("input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight", "out.2.weight", "time_embed.0.weight")
SD_VAE = ("encoder.conv_in.weight", "decoder.mid.block_1.conv1.weight", "decoder.conv_out.weight", "quant_conv.weight")
COMFY = "model.diffusion_model."


def _with(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)


# Names as in the published files; a handful of each is enough to tell them.
FAMILIES = {
    "Stable Diffusion 1.5": (
        *_with(COMFY, *SD_UNET),
        *_with("first_stage_model.", *SD_VAE),
        "cond_stage_model.transformer.text_model.encoder.layers.0.layer_norm1.weight",
    ),
    "Stable Diffusion 2": (
        *_with(COMFY, *SD_UNET),
        *_with("first_stage_model.", *SD_VAE),
        "cond_stage_model.model.transformer.resblocks.0.ln_1.weight",
    ),
    "Stable Diffusion XL": (
        *_with(COMFY, *SD_UNET, "label_emb.0.0.weight"),
        *_with("first_stage_model.", *SD_VAE),
        "conditioner.embedders.1.model.ln_final.weight",
    ),
    "a Stable Diffusion U-Net": SD_UNET,
    "a Stable Diffusion U-Net (diffusers)": ("conv_in.weight", "down_blocks.0.resnets.0.time_emb_proj.weight"),
    "a ControlNet": ("control_model.input_hint_block.0.weight", *_with("control_model.", *SD_UNET)),
    "Stable Diffusion 3": _with(COMFY, "joint_blocks.0.context_block.attn.qkv.weight", "x_embedder.proj.weight"),
    "Flux": ("img_in.weight", "double_blocks.0.img_attn.norm.key_norm.scale", "single_blocks.0.linear1.weight"),
    "Flux (diffusers)": (
        "x_embedder.weight",
        "transformer_blocks.0.ff_context.net.2.weight",
        "single_transformer_blocks.0.attn.norm_k.weight",
    ),
    "Chroma": (
        "distilled_guidance_layer.norms.0.scale",
        "double_blocks.0.img_attn.qkv.weight",
        "single_blocks.0.linear1.weight",
    ),
    "HunyuanVideo": (
        "txt_in.individual_token_refiner.blocks.0.norm1.weight",
        "double_blocks.0.img_attn_qkv.weight",
        "img_in.proj.weight",
    ),
    "HunyuanVideo (diffusers)": ("context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight",),
    "HunyuanDiT": ("mlp_t5.0.weight", "blocks.0.attn1.Wqkv.weight"),
    "LTX-Video": (
        "adaln_single.emb.timestep_embedder.linear_1.bias",
        "adaln_single.linear.weight",
        "patchify_proj.weight",
        "caption_projection.linear_1.weight",
        "transformer_blocks.0.attn1.to_q.weight",
    ),
    "CogVideoX": ("patch_embed.proj.weight", "transformer_blocks.0.norm1.linear.weight"),
    "Mochi": ("t5_yproj.weight", "blocks.0.attn.qkv_x.weight"),
    "Cosmos": ("net.blocks.block0.blocks.0.block.attn.to_q.0.weight", "net.x_embedder.proj.1.weight"),
    "Cosmos Predict2": ("net.blocks.0.mlp.layer1.weight", "net.x_embedder.proj.1.weight"),
    "PixArt": ("adaln_single.linear.weight", "pos_embed.proj.weight", "transformer_blocks.0.attn1.to_q.weight"),
    "Lumina 2 or Z-Image": ("cap_embedder.1.weight", "layers.0.attention.qkv.weight"),
    "Qwen-Image": ("transformer_blocks.0.img_mlp.net.2.weight", "txt_norm.weight", "img_in.weight"),
    "AuraFlow": ("double_layers.0.attn.w1q.weight", "positional_encoding"),
    "HiDream": ("caption_projection.0.linear.weight", "double_stream_blocks.0.block.adaLN_modulation.1.weight"),
    "Stable Cascade": ("clf.1.weight", "clip_txt_mapper.weight"),
    "ACE-Step": ("genre_embedder.weight", "lyric_embs.weight"),
    "the HunyuanVideo VAE": ("decoder.conv_in.conv.weight", "decoder.mid_block.resnets.0.conv1.conv.weight"),
    "the LTX-Video VAE": ("decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",),
    "an image VAE (Stable Diffusion or Flux)": SD_VAE,
    "an image VAE (diffusers)": ("encoder.conv_in.weight", "decoder.mid_block.resnets.0.conv1.weight"),
    "a tiny preview autoencoder (TAESD or TAEHV)": ("encoder.0.weight", "decoder.1.weight", "decoder.3.conv.0.weight"),
    "a T5 text encoder": (
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.block.1.layer.0.SelfAttention.q.weight",
    ),
    "a CLIP text encoder": ("text_model.encoder.layers.0.mlp.fc1.weight", "text_model.final_layer_norm.weight"),
    "a language model (Llama, Qwen or Gemma)": ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"),
    "a SigLIP vision encoder": ("vision_model.embeddings.patch_embedding.bias",),
    "an upscaling model": ("body.0.rdb1.conv1.weight", "conv_first.weight"),
}
LORAS = {
    "peft": (
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight",
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight",
    ),
    "kohya": ("lora_unet_blocks_0_self_attn_q.lora_down.weight", "lora_unet_blocks_0_self_attn_q.alpha"),
    "loha": ("lycoris_blocks_0_self_attn_q.hada_w1_a",),
    "lokr": ("diffusion_model.blocks.0.self_attn.q.lokr_w1",),
    "with bias differences": ("diffusion_model.head.head.diff_b", "diffusion_model.head.head.diff"),
}


def _refusal(path) -> str:
    with pytest.raises(CheckpointError) as error:
        inspect_checkpoint(open_checkpoint(path))
    message = str(error.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_named(header_file, family: str) -> None:
    message = _refusal(header_file(dict.fromkeys(FAMILIES[family], ("F16", (4, 4)))))
    assert f"is {family}, which does not belong to Wan 2.1. Get " in message
    assert "Comfy-Org/Wan_2.1_ComfyUI_repackaged" in message


@pytest.mark.parametrize("kind", LORAS)
def test_loras_are_named(header_file, kind: str) -> None:
    message = _refusal(header_file(dict.fromkeys(LORAS[kind], ("F16", (4, 4)))))
    assert "is a LoRA, an addition to a model and not a model itself: put it into models/loras" in message


def test_an_unknown_file_tells_its_first_tensor(header_file) -> None:
    message = _refusal(header_file({"strange.weight": ("F32", (2,)), "other": ("F32", (2,))}))
    assert "is no Wan model, and nothing else known here (2 tensors, first: 'other')" in message
    assert "(0 tensors" in _refusal(header_file({}))


def _wan(dim: int = 1536, inputs: int = 16, outputs: int = 16, layers: int = 2) -> dict[str, tuple]:
    """The tensors of a Wan transformer that say what it is."""
    entries = {
        "patch_embedding.weight": ("F16", (dim, inputs, 1, 2, 2)),
        "head.modulation": ("F32", (1, 2, dim)),
        "head.head.weight": ("F16", (4 * outputs, dim)),
        "text_embedding.0.weight": ("F16", (dim, 4096)),
        "time_embedding.0.weight": ("F16", (dim, 256)),
    }
    for block in range(layers):
        entries[f"blocks.{block}.self_attn.q.weight"] = ("F16", (dim, dim))
        entries[f"blocks.{block}.ffn.0.weight"] = ("F16", (8960, dim))
    return entries


@pytest.mark.parametrize(
    ("entries", "title"),
    [
        (_wan(5120, 20), "SCAIL without its embedding of poses (20 input and 16 output channels)"),
        (_wan(1536, 17), "a variant of Wan not known here (17 input and 16 output channels)"),
        (_wan(5120, 32), "Wan Fun-Camera without its camera adapter"),
        (_wan(5120, 48) | {"control_adapter.conv.weight": ("F16", (4, 4))}, "a variant of Wan Fun-Camera not known"),
        (_wan(1536, 16) | {"ref_conv.weight": ("F16", (4, 4))}, "a variant of Wan with a reference picture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wan_models_that_do_not_run_yet_are_named(header_file, entries: dict, title: str) -> None:
    message = _refusal(header_file(entries))
    assert f"is {title}" in message
    assert "which this version does not run yet" in message


def test_a_part_of_a_model_that_does_not_run_yet_is_named(header_file) -> None:
    entries = {"face_adapter.fuser_blocks.0.k_norm.weight": ("F16", (4,))}
    assert "is a part of Wan 2.2 Animate, not a whole model" in _refusal(header_file(entries))


@pytest.mark.parametrize(
    ("dtype", "extra", "says"),
    [
        ("U8", {"blocks.0.self_attn.q.weight_global_scale": ("F32", ())}, "nvfp4 of LightX2V (4 bit)"),
        ("I32", {"blocks.0.self_attn.q.qweight": ("I32", (640, 5120))}, "GPTQ or AWQ (4 bit)"),
        ("U8", {"blocks.0.self_attn.q.weight.absmax": ("F32", (4,))}, "bitsandbytes (4 or 8 bit)"),
        ("I8", {"blocks.0.self_attn.q.weight._scale": ("F32", (5120, 1))}, "quanto int8"),
    ],
)
def test_quantised_files_that_do_not_load_say_what_they_are(header_file, dtype: str, extra: dict, says: str) -> None:
    entries = _wan(5120) | {"blocks.0.self_attn.q.weight": (dtype, (5120, 5120))} | extra
    message = _refusal(header_file(entries))
    assert f"stored as {says}" in message
    assert "Use the bf16 or fp16 file of the same model" in message


_names = st.sampled_from(
    sorted(
        {
            prefix + marker
            for kind in MODEL_KINDS.values()
            for layout in kind.layouts
            for prefix in layout.prefixes
            for marker in layout.markers
        }
    )
    + [f"blocks.{n}.ffn.0.weight" for n in (0, 7, 999999)]
    + ["head.head.weight", "text_embedding.0.weight", "time_embedding.0.weight", "conv2.weight", "decoder.head.0.gamma"]
    + ["encoder.downsamples.0.residual.6.weight", "pos_embedding", "head", "blocks.0.ffn.fc1.weight", "spiece_model"]
)
_shapes = st.lists(st.sampled_from([0, 1, 2, 16, 36, 64, 128]), max_size=5).map(tuple)


@given(entries=st.dictionaries(_names | st.text(max_size=20), st.tuples(st.sampled_from(["F16", "U8", "I8"]), _shapes)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_header_gives_a_spec_or_a_sentence(header_file, entries: dict) -> None:
    path = header_file(entries)
    try:
        inspect_checkpoint(open_checkpoint(path))
    except CheckpointError as error:
        assert path.name in str(error)
        assert "\n" not in str(error)
