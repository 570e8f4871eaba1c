"""What a model file is: the frozen record that travels with a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..common.errors import CheckpointError
from ..common.families import TINY, Family
from ..dit.branches.clip import Clip
from ..dit.config import DiTConfig
from ..text_encoder.clip_vision import ClipVisionConfig
from ..text_encoder.umt5 import UMT5Config
from ..vae3d.config import VAEConfig
from .formats.weight_formats import WeightFormat
from .key_maps.layouts import Kind, Naming
from .key_maps.renaming import Source
from .kinds import MODEL_KINDS

ModelConfig = DiTConfig | VAEConfig | UMT5Config | ClipVisionConfig

_TINY_CLIP_VISION_FILE = "wan_director_tiny_demo_clip_vision.safetensors"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything the header of a model file tells.

    Attributes:
        path: the file or folder.
        kind: which part of a video model it is.
        family: what it belongs with.
        preset: name in `dit.config.PRESETS`, or None for other sizes and kinds.
        title: what it is, for people ("Wan 2.1 T2V 14B").
        naming, prefix: how its tensors are called, and what stands in front of every name.
        weight_format: how its weights are stored.
        file_dtype: number format of most of its weights, in the words of safetensors ("BF16").
        config: sizes to build the module with.
        parameters: number of weights.
        size_bytes: size of the file or files.
        start_image: whether the model takes given frames; "optional" ones also run without.
        plain_dtype: number format to compute in: the file's, or of quantised files that of their 16-bit tensors.
        sources: official key -> where it is in the file.
        extras: names in the file that are no weights of this model and are safe to leave out.
        notes: sentences that whoever loads the file has to know.
    """

    path: Path
    kind: Kind
    family: Family
    preset: str | None
    title: str
    naming: Naming
    prefix: str
    weight_format: WeightFormat
    file_dtype: str
    config: ModelConfig
    parameters: int
    size_bytes: int
    start_image: Literal["none", "optional", "required"] = "none"
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False, compare=False)
    extras: tuple[str, ...] = field(default=(), repr=False, compare=False)
    plain_dtype: str = "BF16"
    notes: tuple[str, ...] = ()

    @property
    def takes_clip(self) -> bool:
        """Whether the model has a branch for CLIP image features."""
        return isinstance(self.config, DiTConfig) and self.config.branch(Clip) is not None

    @property
    def goes_with(self) -> tuple[str, ...]:
        """File names of the other parts of its model."""
        partners = {"vae": self.family.vae_file, "text_encoder": self.family.text_encoder_file}
        names = [name for kind, name in partners.items() if kind != self.kind]
        if self.takes_clip:
            names.append(self.clip_vision_file)
        return tuple(names)

    @property
    def clip_vision_file(self) -> str:
        """File name of the CLIP vision encoder of its family."""
        return _TINY_CLIP_VISION_FILE if self.family is TINY else MODEL_KINDS["clip_vision"].example


def require_kind(spec: ModelSpec, kind: Kind) -> None:
    """Refuses a file that was chosen in the wrong loader.

    Raises:
        CheckpointError: the file is of another kind; the message says where it belongs.
    """
    if spec.kind == kind:
        return
    found, wanted = MODEL_KINDS[spec.kind], MODEL_KINDS[kind]
    raise CheckpointError(
        f"{spec.path.name} is a {found.title} ({spec.title}), not a {wanted.title}: put it into {found.folder} and "
        f"choose it in {found.loader}. Here choose a file such as {wanted.example}."
    )
