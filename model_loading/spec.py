"""What a model file can be, one record for each kind, and what one is: the frozen record that travels with a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from torch import nn

from ..common.errors import CheckpointError
from ..common.families import Family
from ..common.places import Place
from ..common.records import record
from ..dit.config import DiTConfig
from .files.checkpoint import Checkpoint
from .formats.weight_formats import WeightFormat
from .key_maps.layouts import Layout, Naming
from .key_maps.renaming import Source
from .publishing.known_files import FileKind, where_to_get
from .recognition.tensors import Tensors

StartImage = Literal["none", "optional", "required"]
"""Whether a model takes given frames; "optional" ones also run without."""

ConfigT = TypeVar("ConfigT")
ConfigT_co = TypeVar("ConfigT_co", covariant=True)
ModuleT = TypeVar("ModuleT", bound=nn.Module)
TokenizerT = TypeVar("TokenizerT")


def no_start_image(config: object, family: Family) -> StartImage:
    """That of a kind that takes no frames."""
    return "none"


def no_partners(config: object) -> tuple[str, ...]:
    """That of a kind that takes nothing but what all kinds take."""
    return ()


def no_tokenizer(checkpoint: Checkpoint, spec: ModelSpec[Any]) -> None:
    """That of a kind that reads no text."""


def goes_with_any(model: ModelSpec[DiTConfig], partner: ModelSpec[Any]) -> None:
    """That of a kind that has no rule about the transformer it works with."""


@record
class ModelKind(Generic[ConfigT, ModuleT, TokenizerT]):
    """One part of a video model: all that is particular to it.

    Attributes:
        files: what it is called for programs, and where its files belong.
        title: for people ("diffusion model").
        published_title: with its article and whose it is ("a Wan diffusion model").
        example: a published file to name when another is needed.
        layouts: the ways its tensors are named.
        read_config: from the shapes of official tensors and a header's metadata to the configuration.
        build: from a configuration to the module; the layers to build it of may follow, and options of its own.
        title_of: from a configuration and its family to what such a model is ("Wan 2.1 I2V 14B").
        widths, family_widths: the sizes by which it fits its partners, of a configuration and in a family.
        width_words: those sizes in words, with a place for each.
        find_tokenizer: reads the tokenizer of a file, before its weights; None for kinds that read no text.
        check_partner: refuses a pair of a transformer and one of this kind that do not belong together.
        start_image: whether frames go into such a model beside the latent.
        partners: names of the kinds whose output goes into it beside latent and text.
        other_files: files of other models that it works with, whatever its family.
        is_network: whether it is mostly big matrices, which can be cast to fp8.
        is_transformer: whether it is the transformer or a part of one: tensors it has beside the known ones are a part
            of what it does, so that it is refused with them.
        is_found: whether its files are found where they lie, so that nobody chooses them.
        has_variants: whether other models share its tensors, so that they have to be told apart (see `variants`).
    """

    files: FileKind
    title: str
    published_title: str
    example: str
    layouts: tuple[Layout, ...]
    read_config: Callable[[Tensors, Mapping[str, str]], ConfigT]
    build: Callable[..., ModuleT]
    title_of: Callable[[ConfigT, Family], str]
    widths: Callable[[ConfigT], tuple[int, ...]]
    family_widths: Callable[[Family], tuple[int, ...]]
    width_words: str
    find_tokenizer: Callable[[Checkpoint, ModelSpec[ConfigT]], TokenizerT]
    check_partner: Callable[[ModelSpec[DiTConfig], ModelSpec[ConfigT]], None] = goes_with_any
    start_image: Callable[[ConfigT, Family], StartImage] = no_start_image
    partners: Callable[[ConfigT], tuple[str, ...]] = no_partners
    other_files: Callable[[ConfigT], tuple[str, ...]] = no_partners
    is_network: bool = False
    is_transformer: bool = False
    has_variants: bool = False
    is_found: bool = False

    def __repr__(self) -> str:
        return f"ModelKind({self.name!r})"

    @property
    def name(self) -> str:
        """For programs."""
        return self.files.name

    @property
    def folder_name(self) -> str:
        """The model folder that ComfyUI looks for its files in ("text_encoders")."""
        return self.files.folder_name

    @property
    def folder(self) -> str:
        """The way to that folder, for people."""
        return self.files.folder

    @property
    def with_article(self) -> str:
        """The title in a sentence."""
        return f"{'an' if self.title[0] in 'aeiou' else 'a'} {self.title}"

    @property
    def where_to_get(self) -> str:
        """The usual file, where it is published and where to put it."""
        return where_to_get(self.example)

    @property
    def place(self) -> Place:
        """Where a user chooses such a file."""
        return Place(f"load {self.name}", f"the {self.title} loader")


AnyKind = ModelKind[Any, Any, Any]


@record
class ModelSpec(Generic[ConfigT_co]):
    """Everything the header of a model file tells.

    Attributes:
        path: the file or folder.
        kind: which part of a video model it is.
        family: what it belongs with.
        preset: name in `dit.presets.PRESETS`, or None for other sizes and kinds.
        title: what it is, for people ("Wan 2.1 T2V 14B").
        naming, prefix: how its tensors are called, and what stands in front of every name.
        weight_format: how its weights are stored.
        file_dtype: number format of most of its weights, in the words of safetensors ("BF16").
        config: sizes to build the module with.
        parameters: number of weights.
        size_bytes: size of the file or files.
        start_image: whether the model takes given frames.
        plain_dtype: number format to compute in: the file's, or of quantised files that of their 16-bit tensors.
        sources: official key -> where it is in the file.
        extras: names in the file that are no weights of this model and are safe to leave out.
        notes: sentences that whoever loads the file has to know.
    """

    path: Path
    kind: AnyKind
    family: Family
    preset: str | None
    title: str
    naming: Naming
    prefix: str
    weight_format: WeightFormat
    file_dtype: str
    config: ConfigT_co
    parameters: int
    size_bytes: int
    start_image: StartImage = "none"
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False, compare=False)
    extras: tuple[str, ...] = field(default=(), repr=False, compare=False)
    plain_dtype: str = "BF16"
    notes: tuple[str, ...] = ()

    @property
    def takes_clip(self) -> bool:
        """Whether the model has a branch for CLIP image features."""
        return "clip_vision" in self.kind.partners(self.config)

    @property
    def goes_with(self) -> tuple[str, ...]:
        """File names of the other parts of its model."""
        partners = ("vae", "text_encoder", *self.kind.partners(self.config))
        files = tuple(self.family.files[kind] for kind in partners if kind != self.kind.name)
        return (*files, *self.kind.other_files(self.config))


def require_kind(spec: ModelSpec[Any], kind: ModelKind[ConfigT, Any, Any]) -> ModelSpec[ConfigT]:
    """The spec, if it is of this kind: refuses a file that was chosen in the wrong place.

    Raises:
        CheckpointError: the file is of another kind; the message says where it belongs.
    """
    found = spec.kind
    if found.name == kind.name:
        return spec
    if found.is_found:
        raise CheckpointError(
            f"{spec.path.name} is {found.with_article} ({spec.title}), not {kind.with_article}: put it "
            f"into {found.folder}, where it is found without being chosen. Here choose a file such as {kind.example}."
        )
    raise CheckpointError(
        f"{spec.path.name} is {found.with_article} ({spec.title}), not {kind.with_article}: put it into "
        f"{found.folder} and choose it in ", found.place, f". Here choose a file such as {kind.example}.",
    )  # fmt: skip
