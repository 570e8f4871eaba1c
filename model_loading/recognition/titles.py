"""Names for people: family, preset and title of a recognised model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ...common.errors import CheckpointError
from ...common.families import FAMILIES, TINY, WAN_2_1, WAN_2_2_5B, Family
from ...dit.config import DiTConfig
from ...dit.presets import PRESETS
from ...text_encoder.clip_vision import CLIP_VIT_H
from ...text_encoder.umt5 import UMT5_XXL, UMT5Config
from ...vae3d.config import LIGHT_WAN_2_1_VAE, WAN_2_1_VAE, WAN_2_2_VAE, VAEConfig
from ..key_maps.layouts import Kind
from ..kinds import MODEL_KINDS
from ..publishing.known_files import where_to_get

FAMILY_KEY = "wan_director.family"

_PRESET_TITLES = {
    "t2v-1.3B": "Wan 2.1 T2V 1.3B",
    # The experts of Wan 2.2 have the same names and shapes; the header cannot tell them apart.
    "t2v-14B": "Wan 2.1 T2V 14B (or one expert of Wan 2.2 T2V A14B)",
    "i2v-14B": "Wan 2.1 I2V 14B",
    "flf2v-14B": "Wan 2.1 FLF2V 14B",
    "i2v-A14B": "one expert of Wan 2.2 I2V A14B",
    "ti2v-5B": "Wan 2.2 TI2V 5B",
    "fun-inp-1.3B": "Wan 2.1 Fun-InP 1.3B",
    "vace-1.3B": "Wan 2.1 VACE 1.3B",
    "vace-14B": "Wan 2.1 VACE 14B",
}
_VACE_MODULE_SIZES = {PRESETS[name].dim: name.removeprefix("vace-") for name in ("vace-1.3B", "vace-14B")}
_VAE_TITLES = {
    WAN_2_1_VAE: "the Wan 2.1 VAE",
    LIGHT_WAN_2_1_VAE: "the light VAE of Wan 2.1",
    WAN_2_2_VAE: "the Wan 2.2 VAE",
}


def find_family(file_name: str, kind: Kind, config: object, metadata: Mapping[str, str]) -> Family:
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
    found = _shared_widths(config)
    family = next((family for family in (WAN_2_1, WAN_2_2_5B) if _widths_of(family, config) == found), None)
    if family is None:
        raise CheckpointError(
            f"{file_name} is built like a part of Wan, but with {_in_words(found, config)} where Wan 2.1 has "
            f"{_in_words(_widths_of(WAN_2_1, config), config)}: it is of another model. Get {where_to_get(kind)}."
        )
    return family


def _shared_widths(config: object) -> tuple[int, ...]:
    """The sizes by which a model fits its partners."""
    if isinstance(config, DiTConfig):
        return config.out_channels, config.text_dim
    if isinstance(config, VAEConfig):
        return config.latent_channels, config.spatial_stride
    return (config.dim,)


def _widths_of(family: Family, config: object) -> tuple[int, ...]:
    """What `_shared_widths` are for the models of a family."""
    if isinstance(config, DiTConfig):
        return family.latent_channels, family.text_width
    if isinstance(config, VAEConfig):
        return family.latent_channels, family.spatial_stride
    return (family.text_width if isinstance(config, UMT5Config) else CLIP_VIT_H.dim,)


def _in_words(widths: tuple[int, ...], config: object) -> str:
    words = {
        DiTConfig: "{} latent channels and a text width of {}",
        VAEConfig: "{} latent channels and pictures {} times smaller",
        UMT5Config: "a text width of {}",
    }
    return words.get(type(config), "a width of {}").format(*widths)


def find_preset(config: object) -> str | None:
    """Name of the published size this is, or None."""
    return next((name for name, preset in PRESETS.items() if preset == config), None)


def title(kind: Kind, config: object, family: Family, preset: str | None) -> str:
    """What a model is, in a few words, for example 'Wan 2.1 I2V 14B'."""
    if family is TINY:
        return f"{MODEL_KINDS[kind].tiny_title or _model(config)} of {TINY.title}"
    if preset is not None:
        return _PRESET_TITLES[preset]
    if kind == "dit":
        return f"a Wan {'2.2' if family is WAN_2_2_5B else '2.1'} {_model(config)} model of another size"
    if kind == "vace_module":
        return f"the VACE module {_VACE_MODULE_SIZES.get(config.dim, 'of another size')}"
    if isinstance(config, VAEConfig):
        whole = WAN_2_2_VAE if config.level_shortcuts else WAN_2_1_VAE
        return _VAE_TITLES.get(config, f"{_VAE_TITLES[whole]} of another size")
    published = {"text_encoder": UMT5_XXL, "clip_vision": CLIP_VIT_H}.get(kind)
    name = {"text_encoder": "UMT5-XXL", "clip_vision": "CLIP ViT-H"}[kind]
    return name if config == published else f"{name} of another size"


def _model(config: DiTConfig) -> str:
    """What a transformer of another size than the published ones does."""
    if config.branch_title is not None:
        return config.branch_title
    if config.out_channels == WAN_2_2_5B.latent_channels:
        return "TI2V"
    return "I2V" if config.image_channels else "T2V"


def start_image(config: object, family: Family) -> Literal["none", "optional", "required"]:
    """Whether a model takes given frames. The tiny demo model was trained with and without, on the same weights."""
    if isinstance(config, DiTConfig) and family.given_in_latent:
        return "optional"
    if not isinstance(config, DiTConfig) or not config.image_channels:
        return "none"
    return "optional" if family is TINY else "required"
