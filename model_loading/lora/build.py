"""From the tensors of one layer in a LoRA file to the changes of the layer's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import Tensor

from ...common.errors import CheckpointError
from ...dit.adapters import Change, Full
from ..files.checkpoint import Checkpoint
from ..precision import all_finite
from .forms import FORMS, Form
from .misfits import Misfit
from .scaling import read_scaling

Group = Mapping[str, str]
"""Role -> name of the tensor in the file, of one layer."""

Sizes = Mapping[str, tuple[int, ...]]

_BIASES = ("diff_b", "up_bias", "whole_bias")


def target_of(layer: str, role: str, sizes: Sizes) -> str | None:
    """The parameter of a layer that a role changes, if the model has it. A free parameter is its own layer."""
    if layer in sizes:
        return layer
    name = f"{layer}.bias" if role in _BIASES else f"{layer}.weight"
    return name if name in sizes else None


def _target_of(layer: str, role: str, sizes: Sizes) -> str:
    """As `target_of`, of a group that was found in the model."""
    target = target_of(layer, role, sizes)
    if target is None:
        raise KeyError(f"the model has no parameter of {layer} that {role} changes")
    return target


def _plain_difference(layer: str, group: Group, sizes: Sizes) -> str | None:
    """The role of the change of a norm or a free parameter, for which only its numbers count; None for a matrix."""
    role = next((role for role in ("diff", "whole") if role in group), None)
    return role if role is not None and (layer in sizes or len(sizes[f"{layer}.weight"]) == 1) else None


class GroupReader:
    """Reads the groups of one file."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.name = checkpoint.path.name
        self._checkpoint = checkpoint
        self._scaling = read_scaling(checkpoint)

    def is_complete(self, group: Group) -> bool:
        """Whether a group changes anything, in a form that is known (Tucker decompositions are for convolutions)."""
        return set(group) != {"alpha"} and "core" not in group

    def misfit(self, layer: str, group: Group, sizes: Sizes) -> Misfit | None:
        """The first change of a group that has another shape than its parameter, by the header.

        Raises:
            CheckpointError: parts are missing or do not fit each other.
        """
        form = self._form(layer, group)
        if form is not None:
            weight = sizes[_target_of(layer, "diff", sizes)]
            plain = _plain_difference(layer, group, sizes)
            if plain is not None:
                return self._free_misfit(layer, group[plain], weight)
            found = form.shape(self._shapes(group))
            if found is None:
                raise self._unfit(layer, group, form)
            expected = (weight[0], prod(weight[1:]))
            if found != expected:
                return Misfit(layer, found, expected)
        for role in ("diff_m", *_BIASES):
            if role in group:
                misfit = self._free_misfit(layer, group[role], sizes[_target_of(layer, role, sizes)])
                if misfit is not None:
                    return misfit
        return None

    def read(self, layer: str, path: str, group: Group, sizes: Sizes) -> Iterator[tuple[str, Change]]:
        """(parameter, change) of everything in a group that has passed `misfit`.

        Raises:
            CheckpointError: a number is not finite, or a tensor holds no numbers.
        """
        form = self._form(layer, group)
        scale = self._scale(path, group, form)
        if form is not None:
            weight, plain = _target_of(layer, "diff", sizes), _plain_difference(layer, group, sizes)
            if plain is not None:
                values = Full(self._tensor(group[plain]).reshape(sizes[weight]))
                yield weight, Change(values, replaces=plain == "whole")
            else:
                yield weight, self._weight_change(layer, group, form, scale, sizes[weight])
        if "diff_m" in group:
            weight = _target_of(layer, "diff_m", sizes)
            yield weight, Change(Full(self._tensor(group["diff_m"]).reshape(sizes[weight])))
        for role in _BIASES:
            if role in group:
                values = Full(self._tensor(group[role]).flatten(), scale if role == "up_bias" else 1.0)
                yield f"{layer}.bias", Change(values, replaces=role == "whole_bias")

    def _weight_change(self, layer: str, group: Group, form: Form, scale: float, size: tuple[int, ...]) -> Change:
        tensors = {role: self._tensor(group[role]) for role in form.parts if role in group}
        magnitude = self._tensor(group["magnitude"]) if "magnitude" in group else None
        out, inner = size[0], prod(size[1:])
        if magnitude is not None:
            magnitude = self._magnitude(layer, magnitude, out, inner)
        return Change(form.make(tensors, scale), magnitude, replaces="whole" in group)

    def _magnitude(self, layer: str, magnitude: Tensor, out: int, inner: int) -> Tensor:
        """DoRA's lengths: of the rows [out, 1], unless they are written as those of the columns, [1, in]."""
        if magnitude.ndim == 2 and tuple(magnitude.shape) == (1, inner):
            return magnitude
        if magnitude.numel() == out:
            return magnitude.reshape(out, 1)
        if magnitude.ndim > 2 and magnitude.shape[0] == 1:
            raise CheckpointError(
                f"{self.name} holds DoRA lengths of {layer} for each input channel of a convolution "
                f"({list(magnitude.shape)}), which are not supported. Train it without that layer, or with lengths of "
                "the output channels (LyCORIS: wd_on_output)."
            )
        raise CheckpointError(
            f"{self.name}: the DoRA lengths of {layer} have the shape {list(magnitude.shape)}, but its weight has "
            f"{out} rows and {inner} columns. The file is damaged: download it again."
        )

    def _scale(self, path: str, group: Group, form: Form | None) -> float:
        rank = form.rank(self._shapes(group)) if form is not None else None
        alpha = None
        if "alpha" in group:
            alpha = self._number(group["alpha"])
        return self._scaling.scale(path, rank, alpha)

    def _form(self, layer: str, group: Group) -> Form | None:
        forms = [form for form in FORMS if any(role in group for role in form.parts)]
        if len(forms) > 1:
            titles = " and ".join(form.title for form in forms)
            raise CheckpointError(f"{self.name} changes {layer} as {titles} at once: it is damaged; download it again.")
        if not forms and "magnitude" in group:
            raise CheckpointError(f"{self.name} has DoRA lengths but no LoRA for {layer}: download it again.")
        return forms[0] if forms else None

    def _shapes(self, group: Group) -> dict[str, tuple[int, ...]]:
        return {role: self._checkpoint.tensors[key].shape for role, key in group.items()}

    def _free_misfit(self, layer: str, key: str, expected: tuple[int, ...]) -> Misfit | None:
        """For parameters that are no matrices only the number of values counts: files write [6, D] and [1, 6, D]."""
        found = self._checkpoint.tensors[key].shape
        return None if prod(found) == prod(expected) else Misfit(layer, found, expected)

    def _unfit(self, layer: str, group: Group, form: Form) -> CheckpointError:
        shapes = self._shapes(group)
        parts = ", ".join(f"{role} {list(shapes[role])}" for role in form.parts if role in shapes)
        return CheckpointError(
            f"{self.name}: the {form.title} of {layer} is incomplete or its parts do not fit each other ({parts}). "
            "The file is damaged: download it again."
        )

    def _number(self, key: str) -> float:
        """A tensor of one number; kohya's trainers also write whole ones."""
        tensor = self._checkpoint.read(key)
        if tensor.numel() != 1:
            raise CheckpointError(f"{self.name}: {key!r} is no single number: download the file again.")
        is_whole = tensor.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
        return float(tensor) if is_whole else float(self._tensor(key))

    def _tensor(self, key: str) -> Tensor:
        tensor = self._checkpoint.read(key)
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{self.name}: {key!r} is stored as {self._checkpoint.tensors[key].dtype}; LoRAs are read in bf16, "
                "fp16, fp32 and fp8. Get the file in one of these."
            )
        if tensor.element_size() == 1:
            tensor = tensor.to(torch.bfloat16)  # holds every fp8 number
        if tensor.dtype == torch.float64:
            tensor = tensor.float()
        if not all_finite(tensor):
            raise CheckpointError(
                f"{self.name}: {key!r} holds values that are no numbers (NaN or infinite), so every video would be "
                "black. The LoRA is damaged: download it again."
            )
        return tensor
