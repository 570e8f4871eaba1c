"""The parts of a video model: one record for each, by its name."""

from __future__ import annotations

from dataclasses import replace

from ..dit.branches.module import BranchModule
from ..dit.config import DiTConfig
from ..dit.model import WanDiT
from ..text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder
from ..text_encoder.tokenizer import Tokenizer
from ..text_encoder.umt5 import UMT5Config, UMT5Encoder
from ..vae3d import CausalVAE, TinyDecoder, TinyDecoderConfig, VAEConfig
from .audio_kind import AUDIO_ENCODER
from .key_maps import layouts
from .pairing import (
    check_clip,
    check_infinitetalk_module,
    check_module,
    check_speed_module,
    check_text_encoder,
    check_uni3c_module,
    check_vae,
)
from .publishing import known_files
from .recognition import configs, titles
from .spec import AnyKind, ModelKind, no_tokenizer
from .tokenizer_source import find_tokenizer

DIT: ModelKind[DiTConfig, WanDiT, None] = ModelKind(
    files=known_files.DIT_FILES,
    title="diffusion model",
    published_title="a Wan diffusion model",
    example=known_files.USUAL_MODEL,
    layouts=layouts.DIT_LAYOUTS,
    read_config=configs.read_dit,
    build=WanDiT,
    title_of=titles.dit_title,
    widths=titles.dit_widths,
    family_widths=titles.dit_widths_of_family,
    width_words=titles.DIT_WIDTH_WORDS,
    find_tokenizer=no_tokenizer,
    start_image=titles.dit_start_image,
    partners=titles.dit_partners,
    other_files=titles.dit_other_files,
    is_network=True,
    is_transformer=True,
    has_variants=True,
)
SPEED_MODULE: ModelKind[DiTConfig, BranchModule, None] = ModelKind(
    files=known_files.SPEED_FILES,
    title="speed-control module",
    published_title="a speed-control module",
    example=known_files.module_file("speed_module"),
    layouts=layouts.SPEED_MODULE_LAYOUTS,
    read_config=configs.read_speed_module,
    build=BranchModule,
    title_of=titles.module_title,
    widths=titles.dit_widths,
    family_widths=titles.dit_widths_of_family,
    width_words=titles.DIT_WIDTH_WORDS,
    find_tokenizer=no_tokenizer,
    check_partner=check_speed_module,
    is_network=True,
    is_transformer=True,
)
VACE_MODULE: ModelKind[DiTConfig, BranchModule, None] = replace(
    SPEED_MODULE,
    files=known_files.VACE_FILES,
    title="VACE module",
    published_title="a VACE module",
    example=known_files.module_file("vace_module"),
    layouts=layouts.VACE_MODULE_LAYOUTS,
    read_config=configs.read_branch_module,
    check_partner=check_module,
    start_image=titles.dit_start_image,
    partners=titles.dit_partners,
)
UNI3C_MODULE: ModelKind[DiTConfig, BranchModule, None] = replace(
    SPEED_MODULE,
    files=known_files.UNI3C_FILES,
    title="Uni3C module",
    published_title="a Uni3C module",
    example=known_files.module_file("uni3c_module"),
    layouts=layouts.UNI3C_MODULE_LAYOUTS,
    read_config=configs.read_uni3c_module,
    check_partner=check_uni3c_module,
)
INFINITETALK_MODULE: ModelKind[DiTConfig, BranchModule, None] = replace(
    SPEED_MODULE,
    files=known_files.INFINITETALK_FILES,
    title="InfiniteTalk module",
    published_title="an InfiniteTalk module",
    example=known_files.module_file("infinitetalk_module"),
    layouts=layouts.INFINITETALK_MODULE_LAYOUTS,
    read_config=configs.read_infinitetalk_module,
    check_partner=check_infinitetalk_module,
)
VAE: ModelKind[VAEConfig, CausalVAE, None] = ModelKind(
    files=known_files.VAE_FILES,
    title="VAE",
    published_title="a Wan VAE",
    example="wan_2.1_vae.safetensors",
    layouts=layouts.VAE_LAYOUTS,
    read_config=configs.read_vae,
    build=CausalVAE,
    title_of=titles.vae_title,
    widths=titles.vae_widths,
    family_widths=titles.vae_widths_of_family,
    width_words="{} latent channels and pictures {} times smaller",
    find_tokenizer=no_tokenizer,
    check_partner=check_vae,
)
TEXT_ENCODER: ModelKind[UMT5Config, UMT5Encoder, Tokenizer] = ModelKind(
    files=known_files.TEXT_FILES,
    title="text encoder",
    published_title="a UMT5 text encoder",
    example="umt5_xxl_fp16.safetensors",
    layouts=layouts.TEXT_ENCODER_LAYOUTS,
    read_config=configs.read_umt5,
    build=UMT5Encoder,
    title_of=titles.text_encoder_title,
    widths=titles.text_encoder_widths,
    family_widths=titles.text_encoder_widths_of_family,
    width_words="a text width of {}",
    find_tokenizer=find_tokenizer,
    check_partner=check_text_encoder,
    is_network=True,
)
CLIP_VISION: ModelKind[ClipVisionConfig, ClipVisionEncoder, None] = ModelKind(
    files=known_files.CLIP_FILES,
    title="CLIP vision encoder",
    published_title="a CLIP vision encoder",
    example="clip_vision_h.safetensors",
    layouts=layouts.CLIP_VISION_LAYOUTS,
    read_config=configs.read_clip,
    build=ClipVisionEncoder,
    title_of=titles.clip_vision_title,
    widths=titles.clip_vision_widths,
    family_widths=titles.clip_vision_widths_of_family,
    width_words="a width of {}",
    find_tokenizer=no_tokenizer,
    check_partner=check_clip,
)
PREVIEW_DECODER: ModelKind[TinyDecoderConfig, TinyDecoder, None] = ModelKind(
    files=known_files.PREVIEW_FILES,
    title="preview decoder",
    published_title="a preview decoder for Wan",
    example="taew2_1.safetensors",
    layouts=layouts.PREVIEW_DECODER_LAYOUTS,
    read_config=configs.read_preview_decoder,
    build=TinyDecoder,
    title_of=titles.preview_decoder_title,
    widths=titles.preview_decoder_widths,
    family_widths=titles.vae_widths_of_family,
    width_words="{} latent channels and pictures {} times smaller",
    find_tokenizer=no_tokenizer,
    is_found=True,
)

# The transformers before VACE modules: a whole VACE model has the tensors of a module, too.
# Speed control last: its three layers are called as those of many small networks.
_KINDS: tuple[AnyKind, ...] = (
    DIT, VACE_MODULE, UNI3C_MODULE, INFINITETALK_MODULE, VAE, TEXT_ENCODER, CLIP_VISION, AUDIO_ENCODER, PREVIEW_DECODER,
    SPEED_MODULE,
)  # fmt: skip
MODEL_KINDS: dict[str, AnyKind] = {kind.name: kind for kind in _KINDS}
"""Name -> kind, in the order in which files are compared with them."""
