"""Reading a LoRA file for one model: names, shapes, numbers, and the sentence when they do not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ...common.errors import CheckpointError
from ...common.records import record
from ...dit.adapters import Adapter, Change, ParameterShapes
from ...dit.config import DiTConfig
from ..files.checkpoint import Checkpoint
from ..formats.scales import WEIGHT_SCALES
from ..meter import Meter, OnBytes, untold
from ..opening import open_checkpoint
from ..recognition.kin import refuse_other
from ..recognition.naming import find_layout
from ..spec import ModelSpec
from .build import GroupReader, target_of
from .misfits import no_match, wrong_size
from .names import LayerNames
from .report import LoraReport
from .roles import Part, find_part

_CHANNEL_LAYERS = re.compile(r"(\w+_)?patch_embedding(_\w+)?|head\.head")
"""Layers whose shape depends on the channels of the video: a LoRA for text to video may be used for image to video."""


@record(eq=False)
class LoadedLora:
    """A LoRA ready for one model, what became of its tensors, whether the file holds parts for two experts, and what
    its header says."""

    adapter: Adapter
    report: LoraReport
    holds_two_experts: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Sorting:
    """The tensors of a file on their way to the report."""

    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    unmatched: list[str] = field(default_factory=list)
    holds_two_experts: bool = False

    def drop(self, layer: str, reason: str | None) -> None:
        """Takes a layer out again: ignored for a reason, or unmatched."""
        keys = self.groups.pop(layer).values()
        if reason is None:
            self.unmatched.extend(keys)
        else:
            self.ignored[reason] += len(keys)


def check_lora(path: str | Path) -> None:
    """Refuses a file that is no LoRA, by its header alone.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is damaged, or something else.
    """
    _parts(open_checkpoint(path))


def read_lora(
    path: str | Path,
    shapes: ParameterShapes,
    model: ModelSpec[DiTConfig],
    *,
    is_second_expert: bool = False,
    on_bytes: OnBytes = untold,
) -> LoadedLora:
    """Reads a LoRA for a model.

    Everything is checked by names and shapes before a number is read; then every number is checked to be finite.
    Tensors stay windows into the file where they can.

    Args:
        path: a .safetensors file (or .pt, .bin of plain tensors).
        shapes: the parameters of the model.
        model: what the model is, for messages.
        is_second_expert: which part of a file for both experts of a Wan 2.2 pair is taken: that of the low-noise one.
        on_bytes: told of progress, and may stop it.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: the file is no LoRA, is damaged, or its tensors do not fit each other.
        PairingError: it is for another model.
    """
    return read_lora_checkpoint(
        open_checkpoint(path), shapes, model, is_second_expert=is_second_expert, on_bytes=on_bytes
    )


def read_lora_checkpoint(
    checkpoint: Checkpoint,
    shapes: ParameterShapes,
    model: ModelSpec[DiTConfig],
    *,
    is_second_expert: bool = False,
    on_bytes: OnBytes = untold,
) -> LoadedLora:
    """As `read_lora`, from what is open already.

    Raises:
        CheckpointError, PairingError: see there.
    """
    parts = _parts(checkpoint)
    sorting = _sort(checkpoint, parts, shapes, is_second_expert=is_second_expert)
    reader = GroupReader(checkpoint)
    _check_shapes(reader, sorting, shapes, model)
    if not sorting.groups:
        raise no_match(checkpoint, sorting.ignored, model)
    changes: dict[str, list[Change]] = {}
    sizes = [sum(checkpoint.tensors[key].size_bytes for key in group.values()) for group in sorting.groups.values()]
    meter = Meter(sizes, on_bytes)
    for layer, group in sorting.groups.items():
        for name, change in reader.read(layer, sorting.paths[layer], group, shapes.shapes):
            changes.setdefault(name, []).append(change)
        meter.next()
    adapter = Adapter(checkpoint.path.name, MappingProxyType({name: tuple(each) for name, each in changes.items()}))
    matched = sum(len(group) for group in sorting.groups.values())
    report = LoraReport(
        checkpoint.path.name, matched, len(changes), MappingProxyType(sorting.ignored), tuple(sorting.unmatched)
    )
    return LoadedLora(adapter, report, sorting.holds_two_experts, checkpoint.metadata)


def _parts(checkpoint: Checkpoint) -> Mapping[str, Part | None]:
    parts = {key: find_part(key) for key in checkpoint.tensors}
    name = checkpoint.path.name
    refuse_other(name, parts)
    scale = next((key for key in parts if key.endswith(WEIGHT_SCALES)), None)
    if scale is not None and any(parts.values()):
        raise CheckpointError(
            f"{name} is stored with scales ({scale[:100]!r}), with which LoRAs are not read. Get it in bf16, fp16 or "
            "fp32."
        )
    if any(parts.values()):
        return parts
    found = find_layout(parts)
    if found is not None:
        kind = found.kind
        raise CheckpointError(
            f"{name} is a {kind.title} and not a LoRA: put it into {kind.folder} and choose it in ", kind.place,
            ". Here choose a LoRA, a small addition to a model.",
        )  # fmt: skip
    first = next(iter(parts), "none")
    raise CheckpointError(
        f"{name} is no LoRA: none of its {len(parts):,} tensors is named like a LoRA's (first: {first[:80]!r}). "
        "Choose another file of models/loras."
    )


def _sort(
    checkpoint: Checkpoint, parts: Mapping[str, Part | None], shapes: ParameterShapes, *, is_second_expert: bool
) -> _Sorting:
    """Tensors by official layer and role; what has no layer in the model is ignored or unmatched."""
    paths = (part.path for part in parts.values() if part)
    names = LayerNames(shapes.shapes, paths, is_second_expert=is_second_expert)
    sorting = _Sorting(holds_two_experts=names.holds_two_experts)
    for key, part in parts.items():
        if part is None:
            sorting.unmatched.append(key)
            continue
        layer = _layer(names, part, shapes)
        is_known = (layer or names.find(part.path)) is not None
        reason = names.reason_to_ignore(part.path, is_known=is_known)
        if reason is not None:
            sorting.ignored[reason] += 1
        elif layer is None:
            sorting.unmatched.append(key)
        else:
            group = sorting.groups.setdefault(layer, {})
            if part.role in group:
                raise CheckpointError(
                    f"{checkpoint.path.name} has the same part of {layer} twice ({group[part.role]!r} and {key!r}): it "
                    "was put together from several LoRAs; use them one by one."
                )
            group[part.role] = key
            sorting.paths[layer] = part.path
    return sorting


def _layer(names: LayerNames, part: Part, shapes: ParameterShapes) -> str | None:
    """The official layer of a part, if the model has the parameter that the part changes."""
    if part.role == "diff_m":
        return names.find(part.path + ".modulation") or names.find(part.path + ".scale_shift_table")
    layer = names.find(part.path)
    return layer if layer and target_of(layer, part.role, shapes.shapes) else None


def _check_shapes(reader: GroupReader, sorting: _Sorting, shapes: ParameterShapes, model: ModelSpec[DiTConfig]) -> None:
    """Drops what may not fit, and refuses the file if anything else does not."""
    for layer, group in list(sorting.groups.items()):
        if not reader.is_complete(group):
            sorting.drop(layer, None)
            continue
        misfit = reader.misfit(layer, group, shapes.shapes)
        if misfit is None:
            continue
        if not _CHANNEL_LAYERS.fullmatch(layer):
            raise wrong_size(reader.name, model, misfit)
        sorting.drop(layer, "of a layer for another number of channels")
