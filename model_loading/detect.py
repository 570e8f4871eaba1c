"""From a file's header alone: what model it is, how its tensors are called and stored, and whether we can run it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..common.errors import CheckpointError
from .checkpoint import Checkpoint, TensorInfo
from .configs import Tensors, read_config
from .foreign import SIGNATURES, WAN_VARIANTS, WAN_VARIANTS_BY_CHANNELS, is_lora, match
from .key_maps.layouts import Kind, Layout, find_layout, plain_name
from .key_maps.renaming import Source
from .known_files import EXAMPLES, FOLDERS, where_to_get
from .quantization.plain import FLOATS
from .quantization.weight_formats import find_weight_format, name_quantisation
from .spec import ModelSpec
from .titles import find_family, find_preset, start_image, title

# Names beside the weights that published files carry and that can be left out.
_EXTRAS = re.compile(
    r"spiece_model|tokenizer_json|scaled_fp8|log_scale|logit_scale|textual\..+|text_model\..+|text_projection\..+"
    r"|.*position_ids|decoder\.block\..+|decoder\.final_layer_norm\..+|decoder\.embed_tokens\..+|lm_head\.weight"
    r"|model_type\..+"
)

# Those of them that hold no weights at all, and so say nothing about the number format of the weights.
_PASSENGERS = re.compile(r"(.*\.)?(spiece_model|tokenizer_json|position_ids)")

_WHOLE_NUMBERS = frozenset({"BOOL", "I16", "U16", "I32", "U32", "I64", "U64"})

# (input, output) channels of text to video (and VACE), of image to video (and Fun-InP), and of TI2V-5B.
_SUPPORTED_CHANNELS = ((16, 16), (36, 16), (48, 48))


class _Reading(NamedTuple):
    """One file seen through its layout: official names, and which of the file's names are no weights of it."""

    layout: Layout
    prefix: str
    sources: Mapping[str, Source]
    extras: tuple[str, ...]
    weights: Mapping[str, TensorInfo]


def inspect_checkpoint(checkpoint: Checkpoint) -> ModelSpec:
    """Recognises a model by the names and shapes of its tensors, never by its file name.

    Raises:
        CheckpointError: it is no model this version runs; the message says what it is and what to use instead.
    """
    name = checkpoint.path.name
    names = {plain_name(key): key for key in checkpoint.tensors}
    if is_lora(names):
        raise CheckpointError(
            f"{name} is a LoRA, an addition to a model and not a model itself: put it into models/loras and choose "
            f"it in Wan LoRA. Here choose a full model, for example {EXAMPLES['dit']}."
        )
    found = find_layout(names)
    if found is None:
        raise _foreign(name, names)
    weight_format = find_weight_format(_numbers(checkpoint, names), checkpoint.metadata)
    reading = _read(checkpoint, names, *found, companions=weight_format.companions if weight_format else ())
    kind = reading.layout.kind
    if kind == "dit":
        _refuse_variants_by_name(name, names)
    tensors = Tensors(name, checkpoint.tensors, reading.sources)
    if kind == "dit":
        _refuse_variants_by_channels(name, tensors)
    config = read_config(kind, tensors, checkpoint.metadata)
    facts = _facts(checkpoint, kind, config)
    if weight_format is None:
        raise CheckpointError(
            f"{name} is {facts['title']} stored as {name_quantisation(checkpoint.tensors)}, which is not supported yet "
            f"by this version. Use the bf16 or fp16 file of the same model (usually in {FOLDERS[kind]})."
        )
    return ModelSpec(
        path=checkpoint.path,
        kind=kind,
        naming="comfy" if _is_comfy(reading) else reading.layout.naming,
        prefix=reading.prefix,
        weight_format=weight_format,
        file_dtype=_main_dtype(reading.weights),
        plain_dtype=_plain_dtype(reading.weights),
        config=config,
        parameters=sum(info.elements for info in reading.weights.values()),
        size_bytes=checkpoint.size_bytes,
        sources=MappingProxyType(dict(reading.sources)),
        extras=reading.extras,
        **facts,
    )


def _numbers(checkpoint: Checkpoint, names: Mapping[str, str]) -> dict[str, TensorInfo]:
    """The tensors that tell the weight format: neither passengers nor marks and counters of one whole number."""
    tensors = {key: checkpoint.tensors[key] for plain, key in names.items() if not _PASSENGERS.fullmatch(plain)}
    return {key: info for key, info in tensors.items() if info.elements != 1 or info.dtype not in _WHOLE_NUMBERS}


def _read(
    checkpoint: Checkpoint, names: Mapping[str, str], layout: Layout, prefix: str, companions: tuple[str, ...]
) -> _Reading:
    """Splits the file's tensors into weights of the model, under official names, and harmless extras."""
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


def _facts(checkpoint: Checkpoint, kind: Kind, config: Any) -> dict[str, Any]:
    """Family, preset, title and image input of a model."""
    family = find_family(checkpoint.path.name, kind, config, checkpoint.metadata)
    preset = find_preset(config)
    return {
        "family": family,
        "preset": preset,
        "title": title(kind, config, family, preset),
        "start_image": start_image(config, family),
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


def _refuse_variants_by_name(name: str, names: Mapping[str, str]) -> None:
    variant = match(WAN_VARIANTS, names)
    if variant is not None:
        raise _unsupported_variant(name, variant.title)


def _refuse_variants_by_channels(name: str, tensors: Tensors) -> None:
    channels = (tensors.size("patch_embedding.weight", 1), tensors.size("head.head.weight", 0) // 4)
    if channels not in _SUPPORTED_CHANNELS:
        variant = WAN_VARIANTS_BY_CHANNELS.get(channels, "a variant of Wan not known here")
        raise _unsupported_variant(name, f"{variant} ({channels[0]} input and {channels[1]} output channels)")


def _unsupported_variant(name: str, title: str) -> CheckpointError:
    return CheckpointError(
        f"{name} is {title}, which this version does not run yet. It runs the text-to-video, image-to-video, "
        f"first-last-frame, Fun-InP and VACE models of Wan 2.1 and 2.2: get {where_to_get('dit')}."
    )


def _foreign(name: str, names: Mapping[str, str]) -> CheckpointError:
    variant = match(WAN_VARIANTS, names)
    if variant is not None:
        return CheckpointError(
            f"{name} is a part of {variant.title}, not a whole model, and is not supported yet by this version. "
            f"Get {where_to_get('dit')}."
        )
    signature = match(SIGNATURES, names)
    if signature is None:
        first = sorted(names)[0] if names else "none"
        return CheckpointError(
            f"{name} is no Wan model, and nothing else known here ({len(names):,} tensors, first: {first[:80]!r}). "
            f"Get {where_to_get('dit')}."
        )
    return CheckpointError(
        f"{name} is {signature.title}, which does not belong to Wan 2.1. Get {where_to_get(signature.kind or 'dit')}."
    )
