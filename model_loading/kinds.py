"""The kinds of model files: one record for each part of a video model, with all that is particular to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from ..dit.branches.module import BranchModule
from ..dit.model import WanDiT
from ..text_encoder.clip_vision import ClipVisionEncoder
from ..text_encoder.umt5 import UMT5Encoder
from ..vae3d.vae import CausalVAE
from .key_maps.layouts import Kind
from .publishing.known_files import EXAMPLES, FOLDERS
from .recognition.configs import Tensors, read_branch_module, read_clip, read_dit, read_umt5, read_vae


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One part of a video model.

    Attributes:
        name: for programs.
        title: for people ("diffusion model").
        published_title: with its article and whose it is ("a Wan diffusion model").
        tiny_title: what the part of the bundled model is called; None where its configuration tells.
        loader: where a user chooses such a file.
        read_config: from the shapes of official tensors and a header's metadata to the configuration.
        build: from a configuration to the module; the layers to build it of may follow.
        is_network: whether it is mostly big matrices, which can be cast to fp8.
    """

    name: Kind
    title: str
    published_title: str
    tiny_title: str | None
    loader: str
    read_config: Callable[[Tensors, Mapping[str, str]], Any]
    build: Callable[..., nn.Module]
    is_network: bool

    @property
    def folder(self) -> str:
        """Where ComfyUI looks for its files."""
        return FOLDERS[self.name]

    @property
    def example(self) -> str:
        """A file to name when another is needed."""
        return EXAMPLES[self.name]


_KINDS = (
    ModelKind(
        name="dit",
        title="diffusion model",
        published_title="a Wan diffusion model",
        tiny_title=None,
        loader="Load Wan Model",
        read_config=read_dit,
        build=WanDiT,
        is_network=True,
    ),
    ModelKind(
        name="vae",
        title="VAE",
        published_title="a Wan VAE",
        tiny_title="the VAE",
        loader="Load Wan VAE",
        read_config=read_vae,
        build=CausalVAE,
        is_network=False,
    ),
    ModelKind(
        name="text_encoder",
        title="text encoder",
        published_title="a UMT5 text encoder",
        tiny_title="the text encoder",
        loader="Load Wan Text Encoder",
        read_config=read_umt5,
        build=UMT5Encoder,
        is_network=True,
    ),
    ModelKind(
        name="clip_vision",
        title="CLIP vision encoder",
        published_title="a CLIP vision encoder",
        tiny_title="the CLIP vision encoder",
        loader="Load Wan CLIP Vision",
        read_config=read_clip,
        build=ClipVisionEncoder,
        is_network=False,
    ),
    ModelKind(
        name="vace_module",
        title="VACE module",
        published_title="a VACE module",
        tiny_title="a VACE module",
        loader="Load Wan Model as its vace_module",
        read_config=read_branch_module,
        build=BranchModule,
        is_network=True,
    ),
)
MODEL_KINDS: Mapping[Kind, ModelKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
