"""Layers with adapters beside them. They wrap a layer of the model and leave it as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...weights.layers import MatrixLayer, Multiplication
from ...weights.multiplication import multiply
from .deltas import Change, Full, tensors_of, with_tensors
from .merging import dora_gain, is_stored, merged, weight_rows

_TOKENS = 4096
"""Tokens that a side path takes at a time, so that what it holds between its factors stays small."""


@dataclass(slots=True)
class Dial:
    """The strength of one adapter at this moment of a run."""

    strength: float


class Dialled(NamedTuple):
    """A change with the dial of its adapter; `merge`: summed into the weight rather than computed beside it."""

    change: Change
    dial: Dial
    merge: bool = False


class ChangeParts(nn.Module):
    """The tensors of a change as buffers, so that whatever moves the weights of a layer finds and moves them too."""

    magnitude: Tensor | None

    def __init__(self, dialled: Dialled, device: torch.device, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._template = dialled.change
        self._dial = dialled.dial
        for name, tensor in tensors_of(dialled.change.delta).items():
            self.register_buffer(name, tensor.to(device, dtype))
        magnitude = dialled.change.magnitude
        self.register_buffer("magnitude", None if magnitude is None else magnitude.to(device))

    @property
    def strength(self) -> float:
        """The strength at this moment."""
        return self._dial.strength

    @property
    def replaces(self) -> bool:
        """Whether the change holds the whole parameter."""
        return self._template.replaces

    def change(self, device: torch.device, dtype: torch.dtype | None = None) -> Change:
        """The change on `device`, its factors in `dtype` (None: as in the file)."""
        delta = self._template.delta
        factors = {name: getattr(self, name).to(device, dtype) for name in tensors_of(delta)}
        magnitude = None if self.magnitude is None else self.magnitude.to(device)
        return replace(self._template, delta=with_tensors(delta, factors), magnitude=magnitude)


class AdaptedLinear(MatrixLayer):
    """A linear layer and the changes to its weight and bias.

    Without merging: base(x) + the side paths, in the dtype of x, whatever form the base keeps its weight in. If any
    change is to be merged, all of this layer's are: the weight of every call is the float32 sum of base and changes.
    That costs the same for any number of tokens and LoRAs, needs no second copy of the model, and leaves nothing to
    restore. A layer with a quantised weight has no sum, so that a change of its bias stays beside it.
    """

    def __init__(self, base: nn.Linear, weight: Sequence[Dialled], bias: Sequence[Dialled], dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base
        self.merges = any(dialled.merge for dialled in (*weight, *bias)) and not is_stored(base)
        device = next(iter((*base.parameters(), *base.buffers()))).device
        kept = None if self.merges else dtype
        self.weight_changes = nn.ModuleList(ChangeParts(each, device, kept) for each in weight)
        self.bias_changes = nn.ModuleList(ChangeParts(each, device, kept) for each in bias)
        self._gains: dict[nn.Module, Tensor] = {}

    def forward(self, input: Tensor, how: Multiplication = "dense") -> Tensor:
        """input [..., in] -> [..., out]; reads it before anyone may overwrite it."""
        x = input
        weights, biases = _active(self.weight_changes), _active(self.bias_changes)
        if not weights and not biases:
            return multiply(self.base, x, how)
        if self.merges:
            return F.linear(x, cast(Tensor, self._merged("weight", weights)), self._merged("bias", biases))
        y = multiply(self.base, x, how)
        rows = y.reshape(-1, y.shape[-1])
        tokens = x.reshape(-1, x.shape[-1])
        self._rescale(rows, weights)
        for start in range(0, len(tokens), _TOKENS):
            part = slice(start, start + _TOKENS)
            for parts in weights:
                self._add(parts, rows[part], tokens[part], how)
        for parts in biases:
            change = parts.change(x.device, x.dtype)
            rows.add_(_full(change).values, alpha=_full_scale(parts))
            if change.replaces:
                rows.sub_(self.base.bias.to(rows.dtype), alpha=parts.strength)
        return rows.view(y.shape)

    def _add(self, parts: ChangeParts, y: Tensor, x: Tensor, how: Multiplication) -> None:
        """One side path: y [tokens, out] += what the change does to x [tokens, in]; see `_rescale` for DoRA's part."""
        change = parts.change(x.device, x.dtype)
        if change.magnitude is None:
            change.delta.add_to(y, x, parts.strength)
            return
        gain = self._gain(parts, change).to(x.dtype)
        if gain.shape[1] == 1:
            side = torch.zeros_like(y)
            change.delta.add_to(side, x, parts.strength)
            y.addcmul_(side, gain.T)
            return
        change.delta.add_to(y, x * gain, parts.strength)
        y.add_(multiply(self.base, x * (gain - 1), how), alpha=parts.strength)
        if self.base.bias is not None:
            y.sub_(self.base.bias.to(y.dtype), alpha=parts.strength)

    def _rescale(self, y: Tensor, weights: Sequence[ChangeParts]) -> None:
        """Gain on the base's own rows, DoRA's or 0 for a replaced weight: y = x W' + b -> x W' * gain + b, before
        anything else is added to y."""
        extra = None
        for parts in weights:
            if parts.replaces:
                more = torch.full((y.shape[1],), -parts.strength, device=y.device)
            elif parts.magnitude is not None and parts.magnitude.shape[1] == 1:
                gain = self._gain(parts, parts.change(y.device, y.dtype))
                more = parts.strength * (gain[:, 0] - 1)
            else:
                more = None
            if more is not None:
                extra = more if extra is None else extra + more
        if extra is None:
            return
        y.mul_((1 + extra).to(y.dtype))
        if self.base.bias is not None:
            y.sub_((extra * self.base.bias.float()).to(y.dtype))

    def _gain(self, parts: ChangeParts, change: Change) -> Tensor:
        """DoRA's gain, from the true weight; once per run."""
        gain = self._gains.get(parts)
        if gain is None:
            gain = self._gains[parts] = dora_gain(weight_rows(self.base), self.base.out_features, change)
        return gain

    def _merged(self, name: str, active: Sequence[ChangeParts]) -> Tensor | None:
        value = getattr(self.base, name)
        return _shifted(value, active) if value is not None and active else value


class ShiftedParameters:
    """Replaces small parameters (norms, modulation, the patch embedding) while the module that uses them runs.

    By hooks around each call, so that it does not matter when and from where the weights come onto the device.

    Args:
        unit: the module that is called.
        parameters: (owner, name, changes) of parameters inside it.
        device: where it computes.
    """

    def __init__(
        self, unit: nn.Module, parameters: Sequence[tuple[nn.Module, str, Sequence[Dialled]]], device: torch.device
    ) -> None:
        self._replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._parameters = [
            (owner, name, [ChangeParts(each, device, None) for each in changes]) for owner, name, changes in parameters
        ]
        self._hooks = (
            unit.register_forward_pre_hook(self._replace),
            unit.register_forward_hook(self._restore, always_call=True),
        )

    def remove(self) -> None:
        """Takes the hooks off, and puts back what an interrupted call has left."""
        for hook in self._hooks:
            hook.remove()
        self._restore()

    def _replace(self, *_call: Any) -> None:
        for owner, name, changes in self._parameters:
            active = _active(changes)
            if active:
                value = getattr(owner, name)
                self._replaced.append((owner, name, value))
                setattr(owner, name, nn.Parameter(_shifted(value, active), requires_grad=False))

    def _restore(self, *_call: Any) -> None:
        while self._replaced:
            owner, name, value = self._replaced.pop()
            setattr(owner, name, value)


def _active(changes: Iterable[nn.Module]) -> list[ChangeParts]:
    return [parts for parts in cast(Iterable[ChangeParts], changes) if parts.strength != 0.0]


def _shifted(value: Tensor, active: Sequence[ChangeParts]) -> Tensor:
    return merged(value, [(parts.change(value.device), parts.strength) for parts in active])


def _full_scale(parts: ChangeParts) -> float:
    return _full(parts._template).scale * parts.strength


def _full(change: Change) -> Full:
    """The delta of a bias, which is never a product."""
    assert isinstance(change.delta, Full)
    return change.delta
