"""Layers with adapters beside them. They wrap a layer of the model and leave it as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...weights.layers import ALL_ROWS, MatrixLayer, Multiplication, Opened, StoringLayer
from ...weights.multiplication import opened
from .deltas import Change, Full, LowRank, is_trainable, joined, tensors_of, with_tensors
from .merging import dora_gain, is_stored, merged, weight_rows
from .stand_ins import put

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
    """The tensors of a change, so that whatever moves the weights of a layer finds and moves them too.

    Trainable ones, `nn.Parameter`s, are parameters here as they are, in the precision that they are learned in
    and cast for each use, to the same bits. The others are buffers, cast once.
    """

    magnitude: Tensor | None

    def __init__(self, dialled: Dialled, device: torch.device, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._template = dialled.change
        self._dial = dialled.dial
        self._dtype = dtype
        for name, tensor in tensors_of(dialled.change.delta).items():
            self._hold(name, tensor, device, dtype)
        self._hold("magnitude", dialled.change.magnitude, device, None)

    def _hold(self, name: str, tensor: Tensor | None, device: torch.device, dtype: torch.dtype | None) -> None:
        if is_trainable(tensor):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, None if tensor is None else tensor.to(device, dtype))

    @property
    def is_trainable(self) -> bool:
        """Whether any of its tensors changes while the run lasts."""
        return next(self.parameters(), None) is not None

    @property
    def strength(self) -> float:
        """The strength at this moment."""
        return self._dial.strength

    def change(self, device: torch.device, dtype: torch.dtype | None = None) -> Change:
        """The change on `device`, its factors in `dtype` (None: as in the file)."""
        delta = self._template.delta
        factors = {name: getattr(self, name).to(device, self._dtype).to(dtype) for name in tensors_of(delta)}
        magnitude = None if self.magnitude is None else self.magnitude.to(device)
        return replace(self._template, delta=with_tensors(delta, factors), magnitude=magnitude)


class Acting(NamedTuple):
    """A change in one call of a layer: its factors in the dtype of the tokens, and the gain of one with a magnitude."""

    change: Change
    strength: float
    gain: Tensor | None = None

    def of_rows(self, rows: slice) -> Acting:
        """Of some rows of the layer."""
        if rows == ALL_ROWS:
            return self
        gain = self.gain if self.gain is None or self.gain.shape[1] != 1 else self.gain[rows]
        return Acting(replace(self.change, delta=self.change.delta.of_rows(rows)), self.strength, gain)


class Base(NamedTuple):
    """Rows of the layer that is changed, ready to multiply tokens, and their bias."""

    multiply: Opened
    bias: Tensor | None


class AdaptedLinear(MatrixLayer):
    """A linear layer and the changes to its weight and bias.

    Without merging: base(x) + the side paths, in the dtype of x, whatever form the base keeps its weight in. If any
    change is to be merged, all of this layer's are: the weight of every call is the float32 sum of base and changes.
    That costs the same for any number of tokens and LoRAs, needs no second copy of the model, and leaves nothing to
    restore. A layer with a quantised weight has no sum, so that a change of its bias stays beside it; only a change
    that needs the whole weight (`Rewritten`) gets a plain one, made anew for every call.
    """

    def __init__(self, base: nn.Linear, weight: Sequence[Dialled], bias: Sequence[Dialled], dtype: torch.dtype) -> None:
        super().__init__()
        self.base = base
        self._makes = is_stored(base) and any(dialled.change.needs_weight for dialled in weight)
        self.merges = self._makes or (
            any(dialled.merge or dialled.change.needs_weight for dialled in (*weight, *bias)) and not is_stored(base)
        )
        device = next(iter((*base.parameters(), *base.buffers()))).device
        kept = None if self.merges else dtype
        self.weight_changes = nn.ModuleList(ChangeParts(each, device, kept) for each in weight)
        self.bias_changes = nn.ModuleList(ChangeParts(each, device, kept) for each in bias)
        self._gains: dict[nn.Module, Tensor] = {}

    def opened(self, like: Tensor, how: Multiplication = "dense", rows: slice = ALL_ROWS) -> Opened:
        """See `MatrixLayer.opened`; tokens are read before anyone may overwrite them."""
        weights, biases = _active(self.weight_changes), _active(self.bias_changes)
        if not weights and not biases:
            return opened(self.base, like, how, rows)
        if self.merges:
            weight, bias = cast(Tensor, self._merged("weight", weights)), self._merged("bias", biases)
            return partial(F.linear, weight=weight[rows].to(like.dtype), bias=None if bias is None else bias[rows])
        base = Base(opened(self.base, like, how, rows), None if self.base.bias is None else self.base.bias[rows])
        acting = [each.of_rows(rows) for each in _joined([self._acting(parts, like) for parts in weights])]
        shifts = [
            Acting(parts.change(like.device, like.dtype).of(self.base.bias), parts.strength).of_rows(rows)
            for parts in biases
        ]
        is_learned = any(parts.is_trainable for parts in (*weights, *biases))
        return partial(_adapted, base=base, weights=acting, biases=shifts, is_learned=is_learned)

    def _acting(self, parts: ChangeParts, like: Tensor) -> Acting:
        change = parts.change(like.device, like.dtype)
        return Acting(change, parts.strength, None if change.magnitude is None else self._gain(parts, change))

    def _gain(self, parts: ChangeParts, change: Change) -> Tensor:
        """DoRA's gain, from the true weight; once per run, or in each call while it is learned."""

        def computed() -> Tensor:
            return dora_gain(weight_rows(self.base), self.base.out_features, change)

        if parts.is_trainable:  # run again in the backward pass, so that no float32 copy of the weight waits for it
            return cast(Tensor, checkpoint(computed, use_reentrant=False, preserve_rng_state=False))
        gain = self._gains.get(parts)
        if gain is None:
            gain = self._gains[parts] = computed()
        return gain

    def _merged(self, name: str, active: Sequence[ChangeParts]) -> Tensor | None:
        makes = self._makes and name == "weight"
        value = cast(StoringLayer, self.base).dense_weight() if makes else getattr(self.base, name)
        return _shifted(value, active) if value is not None and active else value


def _adapted(x: Tensor, base: Base, weights: Sequence[Acting], biases: Sequence[Acting], is_learned: bool) -> Tensor:
    """What the changed layer makes of x [..., in]: [..., rows]."""
    y = base.multiply(x)
    rows, tokens = y.reshape(-1, y.shape[-1]), x.reshape(-1, x.shape[-1])
    if not y.requires_grad and not is_learned:
        return _changed(rows, tokens, weights, biases, base).view(y.shape)
    # What is changed in place must be no view now: the gradient of each change would copy the whole of y.
    runs = zip(rows.split(_TOKENS), tokens.split(_TOKENS))
    return torch.cat([_changed(part.clone(), given, weights, biases, base) for part, given in runs]).view(y.shape)


def _changed(y: Tensor, x: Tensor, weights: Sequence[Acting], biases: Sequence[Acting], base: Base) -> Tensor:
    """y [tokens, rows], the base's answer for x [tokens, in], overwritten with that of the changed layer."""
    _rescale(y, weights, base)
    for part, given in _runs(y, x):
        for acting in weights:
            _add(acting, part, given, base)
    for change, strength, _ in biases:
        full = _full(change)
        y.add_(full.values, alpha=full.scale * strength)
        if change.replaces:
            y.sub_(cast(Tensor, base.bias).to(y.dtype), alpha=strength)
    return y


def _add(acting: Acting, y: Tensor, x: Tensor, base: Base) -> None:
    """One side path: y [tokens, rows] += what the change does to x [tokens, in]; see `_rescale` for DoRA's part."""
    change, strength, gain = acting
    if gain is None:
        change.delta.add_to(y, x, strength)
        return
    gain = gain.to(x.dtype)
    if gain.shape[1] == 1:
        side = torch.zeros_like(y)
        change.delta.add_to(side, x, strength)
        y.addcmul_(side, gain.T)
        return
    change.delta.add_to(y, x * gain, strength)
    y.add_(base.multiply(x * (gain - 1)), alpha=strength)
    if base.bias is not None:
        y.sub_(base.bias.to(y.dtype), alpha=strength)


def _rescale(y: Tensor, weights: Sequence[Acting], base: Base) -> None:
    """Gain on the base's own rows, DoRA's or 0 for a replaced weight: y = x W' + b -> x W' * gain + b, before
    anything else is added to y."""
    extra = None
    for change, strength, gain in weights:
        if change.replaces:
            more = torch.full((y.shape[1],), -strength, device=y.device)
        elif gain is not None and gain.shape[1] == 1:
            more = strength * (gain[:, 0] - 1)
        else:
            more = None
        if more is not None:
            extra = more if extra is None else extra + more
    if extra is None:
        return
    y.mul_((1 + extra).to(y.dtype))
    if base.bias is not None:
        y.sub_((extra * base.bias.float()).to(y.dtype))


class ShiftedParameters:
    """Replaces small parameters (norms, modulation, the patch embedding) while the module that uses them runs.

    By hooks around each call, so that it does not matter when and from where the weights come onto the device, and a
    block that is run again for its gradient computes with the same ones.

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
                put(owner, name, _shifted(value, active))

    def _restore(self, *_call: Any) -> None:
        while self._replaced:
            put(*self._replaced.pop())


def _active(changes: Iterable[nn.Module]) -> list[ChangeParts]:
    return [parts for parts in cast(Iterable[ChangeParts], changes) if parts.strength != 0.0]


def _joined(acting: list[Acting]) -> list[Acting]:
    """The side paths, those that are no more than low-rank as one, the last."""
    low_rank = [(each.change.delta, each.strength) for each in acting if _is_low_rank(each)]
    if len(low_rank) < 2:
        return acting
    delta, strength = joined(cast(list[tuple[LowRank, float]], low_rank))
    return [*(each for each in acting if not _is_low_rank(each)), Acting(Change(delta), strength)]


def _is_low_rank(acting: Acting) -> bool:
    return isinstance(acting.change.delta, LowRank) and acting.gain is None and not acting.change.replaces


def _shifted(value: Tensor, active: Sequence[ChangeParts]) -> Tensor:
    return merged(value, [(parts.change(value.device), parts.strength) for parts in active])


def _runs(y: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """y and x a run of tokens at a time; themselves if they are no longer than one."""
    if len(x) <= _TOKENS:
        yield y, x
        return
    for start in range(0, len(x), _TOKENS):
        part = slice(start, start + _TOKENS)
        yield y[part], x[part]


def _full(change: Change) -> Full:
    """The delta of a bias, which is never a product."""
    assert isinstance(change.delta, Full)
    return change.delta
