"""The CLIP vision encoder equals transformers' model, keeps the official keys, and sees the whole picture."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig as ReferenceConfig
from transformers import CLIPVisionModelWithProjection
from wan_director.text_encoder.clip_vision import (
    CLIP_VIT_H,
    ClipVisionConfig,
    ClipVisionEncoder,
    encode_image,
    preprocess,
)

SMALL = ClipVisionConfig(image_size=56, patch=14, dim=64, heads=4, layers=3, mlp_dim=160, embed_dim=48)
RENAMED = {"norm1": "layer_norm1", "norm2": "layer_norm2", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
TOLERANCE = 3e-6  # of the largest value; peers agree to 0.4e-6 in float32


def make_encoder(seed: int = 0) -> ClipVisionEncoder:
    torch.manual_seed(seed)
    encoder = ClipVisionEncoder(SMALL).eval().requires_grad_(False)
    for name, parameter in encoder.named_parameters():
        if "norm" in name:
            parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


def make_reference(encoder: ClipVisionEncoder) -> CLIPVisionModelWithProjection:
    config = encoder.config
    reference = CLIPVisionModelWithProjection(
        ReferenceConfig(
            hidden_size=config.dim,
            intermediate_size=config.mlp_dim,
            projection_dim=config.embed_dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch,
            hidden_act="gelu",
        )
    ).eval()
    state = encoder.state_dict()
    root = "vision_model."
    renamed = {
        root + "embeddings.class_embedding": state["cls_embedding"].flatten(),
        root + "embeddings.position_embedding.weight": state["pos_embedding"][0],
        root + "embeddings.patch_embedding.weight": state["patch_embedding.weight"],
        "visual_projection.weight": state["head"].T,
    }
    for kind in ("weight", "bias"):
        renamed[f"{root}pre_layrnorm.{kind}"] = state[f"pre_norm.{kind}"]
        renamed[f"{root}post_layernorm.{kind}"] = state[f"post_norm.{kind}"]
        for index in range(config.layers):
            ours, theirs = f"transformer.{index}.", f"{root}encoder.layers.{index}."
            for name, part in zip("qkv", state[f"{ours}attn.to_qkv.{kind}"].chunk(3)):
                renamed[f"{theirs}self_attn.{name}_proj.{kind}"] = part
            renamed[f"{theirs}self_attn.out_proj.{kind}"] = state[f"{ours}attn.proj.{kind}"]
            for mine, their in (
                ("norm1", "layer_norm1"),
                ("norm2", "layer_norm2"),
                ("mlp.0", "mlp.fc1"),
                ("mlp.2", "mlp.fc2"),
            ):
                renamed[f"{theirs}{their}.{kind}"] = state[f"{ours}{mine}.{kind}"]
    missing, unexpected = reference.load_state_dict(renamed, strict=False)
    assert not unexpected and set(missing) <= {root + "embeddings.position_ids"}
    return reference


def relative_max(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def test_features_equal_transformers():
    encoder = make_encoder()
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        reference = make_reference(encoder)(pixel_values=pixels, output_hidden_states=True)
    ours = encoder(pixels)
    assert relative_max(ours.penultimate_hidden_states, reference.hidden_states[-2]) < TOLERANCE
    assert relative_max(ours.last_hidden_state, reference.last_hidden_state) < TOLERANCE
    assert relative_max(ours.image_embeds, reference.image_embeds) < TOLERANCE


def test_vit_h_has_the_official_tensors():
    with torch.device("meta"):
        state = ClipVisionEncoder(CLIP_VIT_H).state_dict()
    assert len(state) == 392
    assert sum(tensor.numel() for tensor in state.values()) == 632_076_800
    assert CLIP_VIT_H.tokens == 257
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items() if not key.startswith("transformer.")}
    assert shapes == {
        "cls_embedding": (1, 1, 1280),
        "pos_embedding": (1, 257, 1280),
        "patch_embedding.weight": (1280, 3, 14, 14),
        "pre_norm.weight": (1280,),
        "pre_norm.bias": (1280,),
        "post_norm.weight": (1280,),
        "post_norm.bias": (1280,),
        "head": (1280, 1024),
    }
    block = {
        key.split(".", 2)[2]: tuple(tensor.shape) for key, tensor in state.items() if key.startswith("transformer.31.")
    }
    assert block == {
        "norm1.weight": (1280,),
        "norm1.bias": (1280,),
        "attn.to_qkv.weight": (3840, 1280),
        "attn.to_qkv.bias": (3840,),
        "attn.proj.weight": (1280, 1280),
        "attn.proj.bias": (1280,),
        "norm2.weight": (1280,),
        "norm2.bias": (1280,),
        "mlp.0.weight": (5120, 1280),
        "mlp.0.bias": (5120,),
        "mlp.2.weight": (1280, 5120),
        "mlp.2.bias": (1280,),
    }


def test_preprocess_equals_the_official_order_of_steps():
    """Official: interpolate in -1..1, then to 0..1, then normalise."""
    frames = torch.rand(2, 90, 160, 3, generator=torch.Generator().manual_seed(2))
    signed = (frames * 2 - 1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(signed, size=(224, 224), mode="bicubic", align_corners=False)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    assert relative_max(preprocess(frames), (resized * 0.5 + 0.5 - mean) / std) < 1e-6


def test_whole_picture_is_seen_unless_cropped():
    frames = torch.zeros(1, 100, 300, 3)
    frames[:, :, :60] = 1  # a white stripe at the left edge, outside the centre square
    whole, cropped = preprocess(frames), preprocess(frames, crop=True)
    assert whole.shape == cropped.shape == (1, 3, 224, 224)
    assert whole[..., 0].mean() > 1 > 0 > whole[..., -1].mean()
    assert cropped.std((-1, -2)).max() < 1e-6


def test_alpha_channel_is_ignored_and_frames_stay_as_they_are():
    frames = torch.rand(1, 60, 40, 4, generator=torch.Generator().manual_seed(3))
    before = frames.clone()
    assert torch.equal(preprocess(frames, 56), preprocess(frames[..., :3], 56))
    assert torch.equal(frames, before)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_half_precision_stays_near_float32(dtype, limit):
    encoder = make_encoder(seed=4)
    frames = torch.rand(1, 70, 80, 3, generator=torch.Generator().manual_seed(4))
    exact = encode_image(encoder, frames).penultimate_hidden_states
    half = encode_image(encoder.to(dtype), frames).penultimate_hidden_states
    assert half.dtype == torch.float32
    assert ((half - exact).norm() / exact.norm()).item() < limit


def test_output_is_read_by_attribute_and_by_item():
    output = encode_image(make_encoder(), torch.rand(2, 56, 56, 3))
    assert output.penultimate_hidden_states.shape == (2, SMALL.tokens, SMALL.dim)
    assert output.image_embeds.shape == (2, SMALL.embed_dim)
    for name in ("penultimate_hidden_states", "last_hidden_state", "image_embeds"):
        assert output[name] is getattr(output, name)
    with pytest.raises(KeyError):
        output["__class__"]


def test_every_parameter_receives_a_gradient():
    encoder = make_encoder().requires_grad_(True)
    output = encoder(torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(5)))
    (output.image_embeds.square().sum() + output.last_hidden_state.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
