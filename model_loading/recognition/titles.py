"""Names for people: family, preset and title of a recognised model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common.errors import CheckpointError
from ...common.families import FAMILIES, TINY, WAN_2_1, WAN_2_2_5B, Family
from ...dit.branches.audio.humo import HumoBranch
from ...dit.branches.camera import CameraBranch
from ...dit.config import DiTConfig
from ...dit.presets import PRESETS
from ...text_encoder.clip_vision import CLIP_VIT_H, ClipVisionConfig
from ...text_encoder.umt5 import UMT5_XXL, UMT5Config
from ...vae3d.config import DOUBLING_WAN_2_1_VAE, LIGHT_WAN_2_1_VAE, WAN_2_1_VAE, WAN_2_2_VAE, VAEConfig
from ...vae3d.tiny import TinyDecoderConfig
from ..spec import ConfigT, ModelKind, StartImage

FAMILY_KEY = "wan_director.family"

_PRESET_TITLES = {
    "t2v-1.3B": "Wan 2.1 T2V 1.3B",
    # The experts of Wan 2.2 have the same names and shapes; the header cannot tell them apart.
    "t2v-14B": "Wan 2.1 T2V 14B (or one expert of Wan 2.2 T2V A14B)",
    "i2v-14B": "Wan 2.1 I2V 14B",
    "flf2v-14B": "Wan 2.1 FLF2V 14B",
    "i2v-A14B": "one expert of Wan 2.2 I2V A14B",
    "animate2-14B": "Wan-Animate-2 14B",
    "ti2v-5B": "Wan 2.2 TI2V 5B",
    "lucy-edit-5B": "Lucy-Edit 5B",
    "fun-inp-1.3B": "Wan 2.1 Fun-InP 1.3B",
    "fun-inp-5B": "Wan 2.2 Fun-InP 5B",
    "fun-control-1.3B": "Wan 2.1 Fun-Control 1.3B",
    "fun-control-14B": "Wan 2.1 Fun-Control 14B",
    "fun-control-1.1-1.3B": "Wan 2.1 Fun-Control 1.1 1.3B",
    "fun-control-1.1-14B": "Wan 2.1 Fun-Control 1.1 14B",
    "fun-control-A14B": "one expert of Wan 2.2 Fun-Control A14B",
    "fun-control-5B": "Wan 2.2 Fun-Control 5B",
    "fun-camera-1.3B": "Wan 2.1 Fun-Camera 1.1 1.3B",
    "fun-camera-14B": "Wan 2.1 Fun-Camera 1.1 14B",
    "fun-camera-A14B": "one expert of Wan 2.2 Fun-Camera A14B",
    "animate-14B": "Wan 2.2 Animate 14B",
    "scail-14B": "Wan 2.1 SCAIL 14B",
    "scail2-1.3B": "Wan 2.1 SCAIL-2 1.3B",
    "scail2-14B": "Wan 2.1 SCAIL-2 14B",
    "s2v-14B": "Wan 2.2 S2V 14B",
    "humo-1.7B": "HuMo 1.7B",
    "humo-17B": "HuMo 17B",
    **dict.fromkeys(("dancer-14B", "dancer-14B-without-reference"), "Wan-Dancer 14B"),
    "vace-1.3B": "Wan 2.1 VACE 1.3B",
    "vace-14B": "Wan 2.1 VACE 14B",
}
_SIZES = {PRESETS[f"t2v-{size}"].dim: size for size in ("1.3B", "14B")}
_VAE_TITLES = {
    WAN_2_1_VAE: "the Wan 2.1 VAE",
    LIGHT_WAN_2_1_VAE: "the light VAE of Wan 2.1",
    DOUBLING_WAN_2_1_VAE: "the Wan 2.1 VAE for pictures of twice the size",
    WAN_2_2_VAE: "the Wan 2.2 VAE",
}


def find_family(
    file_name: str, kind: ModelKind[ConfigT, Any, Any], config: ConfigT, metadata: Mapping[str, str]
) -> Family:
    """The family a model belongs to: as its metadata says, else by the widths it shares with its partners.

    Raises:
        CheckpointError: it belongs to none that is known here.
    """
    written = metadata.get(FAMILY_KEY)
    if written is not None:
        if written not in FAMILIES:
            raise CheckpointError(
                f"{file_name} belongs to the family {written[:40]!r}, which this version does not know "
                f"(it knows {', '.join(FAMILIES)}). Update Wan Director."
            )
        return FAMILIES[written]
    found = kind.widths(config)
    family = next((family for family in (WAN_2_1, WAN_2_2_5B) if kind.family_widths(family) == found), None)
    if family is None:
        expected = kind.width_words.format(*kind.family_widths(WAN_2_1))
        raise CheckpointError(
            f"{file_name} is built like a part of Wan, but with {kind.width_words.format(*found)} where Wan 2.1 has "
            f"{expected}: it is of another model. Get {kind.where_to_get}."
        )
    return family


def find_preset(config: object) -> str | None:
    """Name of the published size this is, or None."""
    return next((name for name, preset in PRESETS.items() if preset == config), None)


def dit_title(config: DiTConfig, family: Family) -> str:
    """What a transformer is: 'Wan 2.1 I2V 14B'."""
    if family is TINY:
        return _of_tiny(_task(config))
    preset = find_preset(config)
    if preset is not None:
        return _PRESET_TITLES[preset]
    added = next((each for each in config.branches if each.title is None and each.module_kind is not None), None)
    if added is not None:
        return f"{dit_title(config.without(type(added)), family)} with {added.words}"
    return f"a Wan {'2.2' if family is WAN_2_2_5B else '2.1'} {_task(config)} model of another size"


def module_title(config: DiTConfig, family: Family) -> str:
    """What a branch by itself is: 'the VACE module 14B'."""
    name = f"{config.branches[0].words} module"
    if family is TINY:
        return _of_tiny(f"a {name}")
    return f"the {name} {_SIZES.get(config.dim, 'of another size')}"


def vae_title(config: VAEConfig, family: Family) -> str:
    """What a VAE is: 'the Wan 2.1 VAE'."""
    if family is TINY:
        return _of_tiny("the VAE")
    whole = WAN_2_2_VAE if config.level_shortcuts else WAN_2_1_VAE
    return _VAE_TITLES.get(config, f"{_VAE_TITLES[whole]} of another size")


def text_encoder_title(config: UMT5Config, family: Family) -> str:
    """What a text encoder is: 'UMT5-XXL'."""
    if family is TINY:
        return _of_tiny("the text encoder")
    return "UMT5-XXL" if config == UMT5_XXL else "UMT5-XXL of another size"


def clip_vision_title(config: ClipVisionConfig, family: Family) -> str:
    """What a picture encoder is: 'CLIP ViT-H'."""
    if family is TINY:
        return _of_tiny("the CLIP vision encoder")
    return "CLIP ViT-H" if config == CLIP_VIT_H else "CLIP ViT-H of another size"


def preview_decoder_title(config: TinyDecoderConfig, family: Family) -> str:
    """What a preview decoder is: 'the preview decoder of Wan 2.1'."""
    return f"the preview decoder of {family.title}"


def _of_tiny(part: str) -> str:
    return f"{part} of {TINY.title}"


def _task(config: DiTConfig) -> str:
    """What a transformer does."""
    if config.branch_title is not None:
        return config.branch_title
    if config.control_channels:
        return "Fun-Control"
    if config.source_channels:
        return "Lucy-Edit"
    if config.out_channels == WAN_2_2_5B.latent_channels:
        return "Fun-InP" if config.image_channels else "TI2V"
    return "I2V" if config.image_channels else "T2V"


DIT_WIDTH_WORDS = "{} latent channels and a text width of {}"


def dit_widths(config: DiTConfig) -> tuple[int, ...]:
    """Latent channels and text width, as all the widths below those by which a model fits its partners."""
    return config.out_channels, config.text_dim


def dit_widths_of_family(family: Family) -> tuple[int, ...]:
    return family.latent_channels, family.text_width


def vae_widths(config: VAEConfig) -> tuple[int, ...]:
    return config.latent_channels, config.spatial_stride


def vae_widths_of_family(family: Family) -> tuple[int, ...]:
    return family.latent_channels, family.spatial_stride


def preview_decoder_widths(config: TinyDecoderConfig) -> tuple[int, ...]:
    return config.latent_channels, config.spatial_stride


def text_encoder_widths(config: UMT5Config) -> tuple[int, ...]:
    return (config.dim,)


def text_encoder_widths_of_family(family: Family) -> tuple[int, ...]:
    return (family.text_width,)


def clip_vision_widths(config: ClipVisionConfig) -> tuple[int, ...]:
    return (config.dim,)


def clip_vision_widths_of_family(family: Family) -> tuple[int, ...]:
    return (CLIP_VIT_H.dim,)


def dit_start_image(config: DiTConfig, family: Family) -> StartImage:
    """Whether a model takes given frames. The tiny demo model was trained with and without, on the same weights."""
    if not config.image_channels:
        return "optional" if family.given_in_latent else "none"
    if config.has_mask_alone or config.branch(HumoBranch) is not None:
        return "none"
    follows = config.control_channels or config.branch(CameraBranch) is not None
    return "optional" if follows or family is TINY else "required"


def dit_partners(config: DiTConfig) -> tuple[str, ...]:
    """The kinds of model whose output steers its branches."""
    return tuple(branch.partner for branch in config.branches if branch.partner is not None)


def dit_other_files(config: DiTConfig) -> tuple[str, ...]:
    """The audio encoders that its branches listen through."""
    return tuple(branch.listens_through for branch in config.branches if branch.listens_through is not None)
