"""The sentences for files that are no model this version loads: what they are, as far as their names tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...common.errors import CheckpointError
from ...common.places import Place
from ..files.checkpoint import Checkpoint, TensorInfo
from ..formats.weight_formats import known_quantisation, name_quantisation
from ..kinds import DIT, MODEL_KINDS
from ..publishing.known_files import LORAS
from ..spec import AnyKind
from .foreign import SIGNATURES, Signature, match
from .kin import other_adapter
from .variants import PARTS

LOAD_LORA = Place("load lora", "the LoRA loader")

# Pieces of names that stay where a quantised file renames or joins its matrices.
_REMAINS = (
    Signature("a Wan diffusion model", "dit", ("patch_embedding.", "blocks.0.", "scale_shift_table")),
    Signature("a Wan diffusion model", "dit", ("patch_embedding.", "blocks.0.", "head.modulation")),
    Signature("a T5 or UMT5 text encoder", "text_encoder", ("encoder.block.0.layer.0.",)),
    Signature("a T5 or UMT5 text encoder", "text_encoder", ("token_embedding.", "blocks.0.attn.")),
)


def unknown_file(checkpoint: Checkpoint, names: Iterable[str]) -> CheckpointError:
    """The error for a file whose tensors, called `names`, are those of no model here."""
    name, names = checkpoint.path.name, sorted(names)
    variant = match(PARTS, names)
    if variant is not None and variant.kind is not None:
        return CheckpointError(
            f"{name} is a part of {variant.title}, not a whole model, and is not supported yet by this version. "
            f"Get {DIT.where_to_get}."
        )
    quantisation, remains = known_quantisation(checkpoint.tensors), match(_REMAINS, names)
    if quantisation is not None and remains is not None:
        return _not_supported(name, remains.title, quantisation, _resembled(remains))
    signature = variant or match(SIGNATURES, names)
    if signature is None:
        first = names[0] if names else "none"
        stored = f", stored as {quantisation}" if quantisation is not None else ""
        return CheckpointError(
            f"{name} is no Wan model, and nothing else known here ({len(names):,} tensors, first: "
            f"{first[:80]!r}{stored}). Get {DIT.where_to_get}."
        )
    return CheckpointError(
        f"{name} is {signature.title}, which does not belong to Wan 2.1. Get {_resembled(signature).where_to_get}."
    )


def _resembled(signature: Signature) -> AnyKind:
    return DIT if signature.kind is None else MODEL_KINDS[signature.kind]


def addition(name: str, names: Iterable[str]) -> CheckpointError:
    """The error for a LoRA, or an adapter of its kin, that was chosen as a model."""
    other = other_adapter(names)
    title = f"a {other[0]} adapter (kin of a LoRA)" if other is not None else "a LoRA"
    return CheckpointError(
        f"{name} is {title}, an addition to a model and not a model itself: put it into {LORAS.folder} and choose "
        "it in ", LOAD_LORA, f". Here choose a full model, for example {DIT.example}.",
    )  # fmt: skip


def unreadable_format(
    checkpoint: Checkpoint, kind: AnyKind, title: str | None, numbers: Mapping[str, TensorInfo]
) -> CheckpointError:
    """The error for a model of this kind whose `numbers` are stored in a way this version does not read."""
    return _not_supported(checkpoint.path.name, title or kind.published_title, name_quantisation(numbers), kind)


def more_than_known(name: str, title: str, parts: Sequence[str]) -> CheckpointError:
    """The error for a transformer with tensors, `parts`, that the model whose other tensors it has does not use."""
    owners = sorted({key.rpartition(".")[0] or key for key in parts}, key=lambda owner: (owner.count("."), owner))
    places = f"{owners[0]!r}" + (f" and {len(owners) - 1} other places" if len(owners) > 1 else "")
    return CheckpointError(
        f"{name} is built on {title}, but has {len(parts)} tensors more than that ({places}): it is a variant of Wan "
        f"not known here, and without them it would make wrong videos. Get {DIT.where_to_get}."
    )


def _not_supported(name: str, title: str, quantisation: str, kind: AnyKind) -> CheckpointError:
    return CheckpointError(
        f"{name} is {title} stored as {quantisation}, which is not supported yet by this version. Use the bf16 or fp16 "
        f"file of the same model (usually in {kind.folder})."
    )
