"""Pairs of our transformer and diffusers' with the same random weights, and random inputs for both."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from wan_director.dit.branches.clip import ClipBranch, ClipInput
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import DitInputs
from wan_director.dit.model import WanDiT

# Diffusers' names -> the official ones, written out here so that the parity tests lean on no code of the pack.
RENAMES = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
    ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
    ("condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    ("to_out.0", "o"),
    ("to_", ""),
    ("add_k_proj", "k_img"),
    ("add_v_proj", "v_img"),
    ("norm_added_k", "norm_k_img"),
    ("attn1", "self_attn"),
    ("attn2", "cross_attn"),
    ("norm2", "norm3"),
    ("proj_out", "head.head"),
)


def official_name(name: str) -> str:
    if name.startswith("vace_blocks."):
        name = name.replace(".proj_in.", ".before_proj.").replace(".proj_out.", ".after_proj.")
    for theirs, ours in RENAMES:
        name = name.replace(theirs, ours)
    name = re.sub(r"^scale_shift_table", "head.modulation", name)
    return name.replace("scale_shift_table", "modulation")


def build_diffusers(config: DiTConfig) -> torch.nn.Module:
    from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

    torch.manual_seed(0)
    build = WanTransformer3DModel
    vace, clip = config.branch(VaceBranch), config.branch(ClipBranch)
    if vace is not None:
        build = partial(WanVACETransformer3DModel, vace_layers=list(vace.steered_layers(config.layers)))
    model = build(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.layers,
        image_dim=None if clip is None else clip.dim,
        added_kv_proj_dim=None if clip is None else config.dim,
        pos_embed_seq_len=None if clip is None else clip.positions,
    )
    for parameter in model.parameters():  # norms, biases and emb_pos start at one or zero, which hides mistakes
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    return model.eval().requires_grad_(False)


@pytest.fixture
def make_pair():
    """A function: config -> (our model, diffusers' model), same weights, float32."""

    def make(config: DiTConfig) -> tuple[WanDiT, torch.nn.Module]:
        theirs = build_diffusers(config)
        ours = WanDiT(config).eval().requires_grad_(False)
        ours.load_state_dict({official_name(name): value for name, value in theirs.state_dict().items()})
        return ours, theirs

    return make


@pytest.fixture
def make_inputs():
    """A function: config, latent shape, ... -> random DitInputs that fill every port the config has."""

    def make(
        config: DiTConfig, shape: tuple[int, int, int] = (3, 8, 12), batch: int = 1, timestep: float = 500.0
    ) -> DitInputs:
        torch.manual_seed(1)
        text = torch.randn(batch, config.text_tokens, config.text_dim)
        text[:, config.text_tokens // 8 :] = 0
        image_channels, steering, clip = None, (), config.branch(ClipBranch)
        if config.image_channels:
            image_channels = torch.randn(batch, config.image_channels, *shape)
        if clip is not None:
            steering = (ClipInput(torch.randn(batch, clip.positions or 17, clip.dim)),)
        latent = torch.randn(batch, config.out_channels, *shape)
        return DitInputs(latent, torch.full((batch,), timestep), text, image_channels, steering)

    return make


@pytest.fixture
def run_diffusers():
    """A function: diffusers' model, DitInputs -> its velocity."""

    def run(model: torch.nn.Module, inputs: DitInputs) -> torch.Tensor:
        latent = inputs.latent
        clip_image = inputs.steering[0].features if inputs.steering else None
        if inputs.image_channels is not None:
            latent = torch.cat([latent, inputs.image_channels], dim=1)
        if clip_image is not None and model.config.pos_embed_seq_len is not None:  # first and last stacked as batch
            clip_image = clip_image.reshape(-1, model.config.pos_embed_seq_len // 2, clip_image.shape[-1])
        with torch.no_grad():
            return model(latent, inputs.timestep, inputs.text, clip_image).sample

    return run
