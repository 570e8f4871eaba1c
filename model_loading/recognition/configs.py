"""From the shapes of official tensors to the configuration the module is built with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ...common.errors import FileFault
from ...common.families import WAN_2_1
from ...dit.branches.known import read_branches
from ...dit.config import PATCH, DiTConfig
from ...text_encoder.clip_vision import ClipVisionConfig
from ...text_encoder.umt5 import UMT5Config
from ...vae3d.config import VAEConfig
from ...vae3d.tiny import LEVELS, TinyDecoderConfig
from ..publishing.known_files import where_to_get
from .tensors import MAX_LAYERS, Tensors

HEADS_KEY = "wan_director.heads"
_DIT_HEAD_DIM = 128  # in every published Wan transformer
_CLIP_HEAD_DIM = 80  # in ViT-H
_MAX_ENLARGEMENT = 4
_LEVELS_KEY = "decoder.upsamples.0.upsamples.0.residual.2.weight"  # only the VAE of Wan 2.2 has levels


def read_dit(tensors: Tensors, metadata: Mapping[str, str]) -> DiTConfig:
    """A transformer.

    Raises:
        FileFault: the shapes are those of no such model.
    """
    dim = tensors.size("patch_embedding.weight", 0)
    if tensors.shape("patch_embedding.weight")[2:] != PATCH:
        raise FileFault(
            f"cuts its video into patches {list(tensors.shape('patch_embedding.weight')[2:])}; Wan's are {list(PATCH)}",
            "Use the file of another publisher",
        )
    layers, branches = tensors.count("blocks."), read_branches(tensors)
    for branch in branches:
        branch.check_layers(layers)
    return DiTConfig(
        dim=dim,
        ffn_dim=tensors.size("blocks.0.ffn.0.weight", 0),
        heads=number_of_heads(tensors, metadata, dim, _DIT_HEAD_DIM),
        layers=layers,
        in_channels=tensors.size("patch_embedding.weight", 1),
        out_channels=tensors.size("head.head.weight", 0) // math.prod(PATCH),
        text_dim=tensors.size("text_embedding.0.weight", 1),
        freq_dim=tensors.size("time_embedding.0.weight", 1),
        branches=branches,
    )


def read_branch_module(tensors: Tensors, metadata: Mapping[str, str]) -> DiTConfig:
    """Branches by themselves; `layers` are then their own blocks. Errors as `read_dit`."""
    branches = read_branches(tensors)
    own = [name for branch in branches for names in branch.own_blocks(MAX_LAYERS).values() for name in names]
    dim = tensors.size(f"{own[0]}.ffn.0.weight", 1)
    return DiTConfig(
        dim=dim,
        ffn_dim=tensors.size(f"{own[0]}.ffn.0.weight", 0),
        heads=number_of_heads(tensors, metadata, dim, _DIT_HEAD_DIM),
        layers=len(own),
        branches=branches,
    )


def read_speed_module(tensors: Tensors, metadata: Mapping[str, str]) -> DiTConfig:
    """Speed control by itself, of a transformer of its width. Errors as `read_dit`."""
    dim = tensors.size("motion_controller.linear.0.weight", 0)
    found = [tensors.shape(f"motion_controller.linear.{number}.weight") for number in (2, 4)]
    if [tuple(shape) for shape in found] != [(dim, dim), (6 * dim, dim)]:
        raise FileFault(
            f"has three layers as speed control does, but of {[list(shape) for shape in found]} where width {dim} "
            f"asks for {[dim, dim]} and {[6 * dim, dim]}: it is something else"
        )
    return DiTConfig(dim=dim, ffn_dim=0, heads=1, layers=0, branches=read_branches(tensors))


def read_uni3c_module(tensors: Tensors, metadata: Mapping[str, str]) -> DiTConfig:
    """Uni3C by itself, of a transformer of the width that it gives to. Errors as `read_dit`."""
    branches = read_branches(tensors)
    own = sum(len(branch.own_blocks(MAX_LAYERS)) for branch in branches)
    dim = tensors.size("proj_out.0.weight", 0)
    if tensors.size("controlnet_blocks.0.norm1.linear.weight", 1) != dim:
        raise FileFault("has the names of Uni3C but not its structure", "use another file")
    return DiTConfig(dim=dim, ffn_dim=0, heads=1, layers=own, branches=branches)


def read_infinitetalk_module(tensors: Tensors, metadata: Mapping[str, str]) -> DiTConfig:
    """InfiniteTalk by itself, of a transformer of the width and the blocks it is for. Errors as `read_dit`."""
    dim, inner = (tensors.size("blocks.0.audio_cross_attn.kv_linear.weight", side) for side in (0, 1))
    branches = read_branches(tensors)
    if dim % 2 or any(tensors.size(f"blocks.0.norm_x.{leaf}", 0) != dim // 2 for leaf in ("weight", "bias")):
        raise FileFault(
            f"has the names of InfiniteTalk but not its structure: what is heard is {inner} wide and becomes {dim}",
            "use another file",
        )
    return DiTConfig(dim=dim // 2, ffn_dim=0, heads=1, layers=tensors.count("blocks."), branches=branches)


def read_vae(tensors: Tensors, metadata: Mapping[str, str]) -> VAEConfig:
    """A video autoencoder.

    Raises:
        FileFault: the shapes are those of no such model.
    """
    if _LEVELS_KEY in tensors.keys:
        return _read_vae_levels(tensors)
    enlargement = _enlargement(tensors)
    base = tensors.size("encoder.conv1.weight", 0)
    decoder_base = tensors.size("decoder.head.0.gamma", 0)
    levels: list[list[int]] = [[]]  # channels after each residual block, per level
    temporal: list[bool] = []
    for index in range(tensors.count("encoder.downsamples.")):
        stem = f"encoder.downsamples.{index}."
        if stem + "resample.1.weight" in tensors.keys:
            levels.append([])
            temporal.append(stem + "time_conv.weight" in tensors.keys)
        else:
            levels[-1].append(tensors.size(stem + "residual.6.weight", 0))
    if not all(levels) or any(level[-1] % base for level in levels):
        raise _wrong_vae()
    return VAEConfig(
        base_channels=base,
        latent_channels=tensors.size("conv2.weight", 0),
        channel_multipliers=tuple(level[-1] // base for level in levels),
        residual_blocks=len(levels[0]),
        temporal_downsample=tuple(temporal),
        decoder_base_channels=None if decoder_base == base else decoder_base,
        enlargement=enlargement,
    )


def _enlargement(tensors: Tensors) -> int:
    """How many times larger than it encodes them a VAE of the 2.1 form decodes pictures, by its last channels.

    Raises:
        FileFault: it takes or gives other pictures than three colours.
    """
    outputs, inputs = tensors.size("decoder.head.2.weight", 0), tensors.size("encoder.conv1.weight", 1)
    times = math.isqrt(outputs // 3)
    if inputs == 3 and outputs == 3 * times**2 and times <= _MAX_ENLARGEMENT:
        return times
    raise FileFault(
        f"is a variant of the Wan 2.1 VAE with {inputs} picture channels in and {outputs} out, where 3 go in, and 3 "
        "come out or, for pictures of twice the size, 12",
        f"This version does not run those. Get {where_to_get(WAN_2_1.vae_file)}",
    )


def _read_vae_levels(tensors: Tensors) -> VAEConfig:
    """The form of Wan 2.2: levels of residual blocks, each but the last with a resampling at its end."""
    base = tensors.size("encoder.conv1.weight", 0)
    decoder_base = tensors.size("decoder.head.0.gamma", 0)
    stems = [f"encoder.downsamples.{level}.downsamples." for level in range(tensors.count("encoder.downsamples."))]
    blocks = tensors.count(stems[-1])
    widths = [tensors.size(stem + "0.residual.6.weight", 0) for stem in stems]
    channels = tensors.size("encoder.conv1.weight", 1)
    patch = math.isqrt(channels // 3)
    if any(width % base for width in widths) or 3 * patch**2 != channels:
        raise _wrong_vae()
    return VAEConfig(
        base_channels=base,
        latent_channels=tensors.size("conv2.weight", 0),
        channel_multipliers=tuple(width // base for width in widths),
        residual_blocks=blocks,
        temporal_downsample=tuple(f"{stem}{blocks}.time_conv.weight" in tensors.keys for stem in stems[:-1]),
        decoder_base_channels=None if decoder_base == base else decoder_base,
        patch_size=patch,
        level_shortcuts=True,
    )


def _wrong_vae() -> FileFault:
    return FileFault("has the names of the Wan VAE but not its structure", "use another file")


def read_preview_decoder(tensors: Tensors, metadata: Mapping[str, str]) -> TinyDecoderConfig:
    """A decoder for previews.

    Raises:
        FileFault: the shapes are those of no such model.
    """
    ends = [8 + 6 * level for level in range(LEVELS)]  # the last convolution of each level; before it, more frames
    widths = [tensors.size("decoder.1.weight", 0), *(tensors.size(f"decoder.{end}.weight", 0) for end in ends)]
    made = [tensors.size(f"decoder.{end - 1}.conv.weight", 0) for end in ends]
    pixels = tensors.size("decoder.22.bias", 0)
    patch = math.isqrt(pixels // 3)
    if 3 * patch**2 != pixels or any(frames % width for frames, width in zip(made, widths)):
        raise FileFault("has the names of a preview decoder but not its structure", "use another file")
    first, second, third = (frames // width for frames, width in zip(made, widths))
    return TinyDecoderConfig(
        latent_channels=tensors.size("decoder.1.weight", 1),
        widths=(widths[0], widths[1], widths[2], widths[3]),
        frames=(first, second, third),
        patch=patch,
    )


def read_umt5(tensors: Tensors, metadata: Mapping[str, str]) -> UMT5Config:
    """A text encoder.

    Raises:
        FileFault: the shapes are those of no such model.
    """
    bias = "blocks.0.pos_embedding.embedding.weight"
    width, heads = tensors.size("blocks.0.attn.q.weight", 0), tensors.size(bias, 1)
    if width % heads:
        raise FileFault(f"has {heads} heads for a width of {width}")
    return UMT5Config(
        vocab=tensors.size("token_embedding.weight", 0),
        dim=tensors.size("token_embedding.weight", 1),
        attention_dim=width,
        ffn_dim=tensors.size("blocks.0.ffn.fc1.weight", 0),
        heads=heads,
        layers=tensors.count("blocks."),
        buckets=tensors.size(bias, 0),
    )


def read_clip(tensors: Tensors, metadata: Mapping[str, str]) -> ClipVisionConfig:
    """A CLIP vision encoder.

    Raises:
        FileFault: the shapes are those of no such model.
    """
    dim = tensors.size("cls_embedding", -1)
    patch = tensors.size("patch_embedding.weight", -1)
    side = math.isqrt(tensors.size("pos_embedding", -2) - 1)
    return ClipVisionConfig(
        image_size=side * patch,
        patch=patch,
        dim=dim,
        heads=number_of_heads(tensors, metadata, dim, _CLIP_HEAD_DIM),
        layers=tensors.count("transformer."),
        mlp_dim=tensors.size("transformer.0.mlp.0.weight", 0),
        embed_dim=tensors.size("head", 1),
    )


def number_of_heads(tensors: Tensors, metadata: Mapping[str, str], dim: int, head_dim: int) -> int:
    """The number of attention heads, which no shape tells: from the file's metadata, else by the published width."""
    written = metadata.get(HEADS_KEY)
    if written is None and dim % head_dim == 0:
        return dim // head_dim
    if written is not None and re.fullmatch(r"[1-9]\d{0,3}", written) and dim % int(written) == 0:
        return int(written)
    if written is None:
        raise FileFault(
            f"has the width {dim}, which is no multiple of {head_dim}, and does not say its number of heads "
            f"({HEADS_KEY} in its metadata)",
            "use a published Wan model",
        )
    raise FileFault(
        f"has the width {dim} and claims {written[:20]!r} as its number of heads ({HEADS_KEY} in its metadata), which "
        "does not divide it",
        "the file is damaged; get it again",
    )
