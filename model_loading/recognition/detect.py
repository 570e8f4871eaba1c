"""From a file's header alone: what model it is, how its tensors are called and stored, and whether we can run it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ...common.errors import CheckpointError
from ..files.checkpoint import Checkpoint, TensorInfo
from ..files.faults import naming
from ..formats.packing import unpacked
from ..formats.plain import FLOATS
from ..formats.weight_formats import find_weight_format
from ..key_maps.layouts import Layout, plain_name
from ..key_maps.renaming import Source
from ..spec import AnyKind, ConfigT, ModelKind, ModelSpec, require_kind
from .foreign import is_lora
from .naming import FoundLayout, find_layout
from .refusals import addition, more_than_known, unknown_file, unreadable_format
from .tensors import Tensors
from .titles import FAMILY_KEY, find_family, find_preset
from .variants import as_said, refuse_channels, refuse_variants, said_model_type, same_shape_notes

# Names beside the weights that published files carry and that can be left out.
_EXTRAS = re.compile(
    r"spiece_model|tokenizer_json|scaled_fp8|log_scale|logit_scale|textual\..+|text_model\..+|text_projection\..+"
    r"|.*position_ids|decoder\.block\..+|decoder\.final_layer_norm\..+|decoder\.embed_tokens\..+|lm_head\.(weight|bias)"
    r"|decoder\.layers\.\d+\..+|decoder\.embed_positions\.weight|decoder\.layer_norm\..+"
    r"|masked_spec_embed|quantizer\..+|project_(q|hid)\..+"
    r"|model_type\..+|encoder\.\d+\..+|motion_encoder\..+\.kernel"
)

# Those of them that hold no weights at all, and so say nothing about the number format of the weights.
_PASSENGERS = re.compile(r"(.*\.)?(spiece_model|tokenizer_json|position_ids)")

_WHOLE_NUMBERS = frozenset({"BOOL", "I16", "U16", "I32", "U32", "I64", "U64"})


class _Reading(NamedTuple):
    """One file seen through its layout: official names, and which of the file's names are no weights of it."""

    layout: Layout
    prefix: str
    sources: Mapping[str, Source]
    extras: tuple[str, ...]
    weights: Mapping[str, TensorInfo]


def inspect_as(checkpoint: Checkpoint, kind: ModelKind[ConfigT, Any, Any]) -> ModelSpec[ConfigT]:
    """As `inspect_checkpoint`, for a file that must be of one kind.

    Raises:
        CheckpointError: see there, or it is of another kind.
    """
    return require_kind(inspect_checkpoint(checkpoint, kind), kind)


def inspect_checkpoint(checkpoint: Checkpoint, wanted: AnyKind | None = None) -> ModelSpec[Any]:
    """Recognises a model by its header and the names and shapes of its tensors; its file's name is only ever a hint.

    Args:
        wanted: what the file is chosen as. It decides between the parts of a file that holds several.

    Raises:
        CheckpointError: it is no model this version runs; the message says what it is and what to use instead.
    """
    with naming(checkpoint.path):
        return _inspect(checkpoint, wanted)


def _inspect(checkpoint: Checkpoint, wanted: AnyKind | None) -> ModelSpec[Any]:
    name = checkpoint.path.name
    names = {plain_name(key): key for key in checkpoint.tensors}
    if is_lora(names):
        raise addition(name, names)
    found = find_layout(names, wanted)
    if found is None:
        raise unknown_file(checkpoint, names)
    kind, layout, prefix = found
    numbers = _numbers(checkpoint, names, prefix)
    weight_format = find_weight_format(numbers, checkpoint.metadata)
    reading = _read(checkpoint, names, found, companions=weight_format.companions if weight_format else ())
    tensors = Tensors(unpacked(checkpoint), reading.sources)
    said = None
    if kind.has_variants:
        said = said_model_type(checkpoint.path, checkpoint.metadata)
        inside = {plain.removeprefix(prefix): key for plain, key in names.items() if plain.startswith(prefix)}
        refuse_variants(name, inside, said)
    if weight_format is None:
        raise unreadable_format(checkpoint, kind, _title(checkpoint, kind, tensors), numbers)
    if kind.has_variants:
        refuse_channels(name, _channels(tensors), tensors)
    config = _config(checkpoint, kind, tensors, said)
    facts = _facts(checkpoint, kind, config)
    roots = [key for key in tensors.keys if "." not in key and math.prod(tensors.shape(key)) > 1]
    if roots and kind.has_variants:
        raise more_than_known(name, facts["title"], roots)
    return ModelSpec(
        path=checkpoint.path,
        kind=kind,
        naming="comfy" if _is_comfy(reading) else layout.naming,
        prefix=prefix,
        weight_format=weight_format,
        file_dtype=_main_dtype(reading.weights),
        plain_dtype=_plain_dtype(reading.weights),
        config=config,
        parameters=sum(tensors.infos[key].elements for key in reading.weights),
        size_bytes=checkpoint.size_bytes,
        sources=MappingProxyType(dict(reading.sources)),
        extras=reading.extras,
        notes=_notes(checkpoint, names, found, config, said),
        **facts,
    )


def _title(checkpoint: Checkpoint, kind: AnyKind, tensors: Tensors) -> str | None:
    """What a model is whose numbers cannot be read; None where they also hide its sizes."""
    try:
        if kind.has_variants:
            refuse_channels(checkpoint.path.name, _channels(tensors), tensors)
        said = said_model_type(checkpoint.path, checkpoint.metadata) if kind.has_variants else None
        return str(_facts(checkpoint, kind, _config(checkpoint, kind, tensors, said))["title"])
    except CheckpointError:
        return None


def _config(checkpoint: Checkpoint, kind: AnyKind, tensors: Tensors, said: str | None) -> Any:
    """The sizes of a model by its tensors, and what its header or name says beside them."""
    config = kind.read_config(tensors, checkpoint.metadata)
    return as_said(checkpoint.path, config, said) if kind.has_variants else config


def _channels(tensors: Tensors) -> tuple[int, int]:
    """(input, output) channels of a transformer."""
    return tensors.size("patch_embedding.weight", 1), tensors.size("head.head.weight", 0) // 4


def _notes(
    checkpoint: Checkpoint, names: Mapping[str, str], found: FoundLayout, config: Any, said: str | None
) -> tuple[str, ...]:
    """What has to be said about a model that loads."""
    kind, layout, prefix = found
    notes = list(checkpoint.notes)
    others = [other for other in layout.all_prefixes(names) if other != prefix]
    if others:
        notes.append(f"It holds {len(others) + 1} models; the one behind {prefix!r} is read, not {others[0]!r}.")
    if kind.has_variants and FAMILY_KEY not in checkpoint.metadata:
        notes += same_shape_notes(checkpoint.path, config, said)
    return tuple(notes)


def _numbers(checkpoint: Checkpoint, names: Mapping[str, str], prefix: str) -> dict[str, TensorInfo]:
    """The model's tensors that tell the weight format: neither passengers nor marks and counters of one whole number.

    What a file holds beside the model, with other prefixes, may be stored otherwise.
    """
    tensors = {
        key: checkpoint.tensors[key]
        for plain, key in names.items()
        if plain.startswith(prefix) and not _PASSENGERS.fullmatch(plain)
    }
    return {key: info for key, info in tensors.items() if info.elements != 1 or info.dtype not in _WHOLE_NUMBERS}


def _read(
    checkpoint: Checkpoint, names: Mapping[str, str], found: FoundLayout, companions: tuple[str, ...]
) -> _Reading:
    """Splits the file's tensors into weights of the model, under official names, and harmless extras."""
    _, layout, prefix = found
    inside = {plain.removeprefix(prefix): key for plain, key in names.items() if plain.startswith(prefix)}
    weights, extras = {}, [key for plain, key in names.items() if not plain.startswith(prefix)]
    for plain, key in inside.items():
        if _EXTRAS.fullmatch(plain) or (companions and plain.endswith(companions)):
            extras.append(key)
        else:
            weights[plain] = key
    sources = {
        official: Source(tuple(weights.get(key, key) for key in source.keys), source.transposed)
        for official, source in layout.to_official(weights).items()
    }
    infos = {key: checkpoint.tensors[key] for key in weights.values()}
    return _Reading(layout, prefix, sources, tuple(sorted(extras)), infos)


def _facts(checkpoint: Checkpoint, kind: AnyKind, config: Any) -> dict[str, Any]:
    """Family, preset, title and image input of a model."""
    family = find_family(checkpoint.path.name, kind, config, checkpoint.metadata)
    return {
        "family": family,
        "preset": find_preset(config),
        "title": kind.title_of(config, family),
        "start_image": kind.start_image(config, family),
    }


def _is_comfy(reading: _Reading) -> bool:
    """ComfyUI's files: their own prefix, or Hugging Face names with the tokenizer inside."""
    return "diffusion_model." in reading.prefix or (reading.layout.naming == "hf" and "spiece_model" in reading.extras)


def _main_dtype(weights: Mapping[str, TensorInfo]) -> str:
    """The number format most bytes are stored in."""
    sizes: Counter[str] = Counter()
    for info in weights.values():
        sizes[info.dtype] += info.size_bytes
    return sizes.most_common(1)[0][0]


def _plain_dtype(weights: Mapping[str, TensorInfo]) -> str:
    """The number format most bytes are stored in; where that is a quantised one, the most used one of 16 bits."""
    main = _main_dtype(weights)
    if main in FLOATS:
        return main
    halves = Counter(info.dtype for info in weights.values() if info.dtype in ("BF16", "F16"))
    return halves.most_common(1)[0][0] if halves else "BF16"
