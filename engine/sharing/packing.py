"""What a run is asked with, as bytes for another process of the pack: of a model its recipe goes, never its weights."""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.errors import InvalidInputError, PairingError
from ...common.records import record
from ...model_loading.footprint import ModelBytes
from ..loaded import PlacedModel, place
from ..models import VideoModel, load_model
from ..recipe import ModelRecipe
from ..runtime import Runtime, WhoJoins
from ..sampling.policies import StepPolicies

_ROOT = __name__.rsplit(".", 3)[0]
"""The pack's name, which ComfyUI makes of its folder's."""


class PackedRun(NamedTuple):
    """A value as bytes; `keys`: of the models in it, see `ModelRecipe.key`."""

    data: bytes
    keys: frozenset[Hashable] = frozenset()


@record
class _SentPart:
    """A model by what it is loaded from; `key` and `weights` tell whether that gave the same."""

    recipe: ModelRecipe
    key: Hashable
    weights: ModelBytes

    def check(self, placed: PlacedModel) -> None:
        """Refuses another one.

        Raises:
            PairingError: the file has changed, or what was sent had its weights from elsewhere.
        """
        if (placed.recipe.key(), placed.weights) != (self.key, self.weights):
            raise PairingError(
                f"{placed.file} gives another model here than where the run was asked for: its file has changed since, "
                "or its weights came another way. Load it anew from its file, or let one GPU make the run."
            )


@record
class _SentModel:
    """A transformer by its parts: of each expert the weights and the policies."""

    recipe: ModelRecipe
    parts: tuple[_SentPart, ...]
    policies: tuple[StepPolicies, ...]


def packed(value: Any) -> PackedRun:
    """A value of the pack's own types, tensors and what Python has.

    Raises:
        InvalidInputError: something in it exists in this process alone.
    """
    file = io.BytesIO()
    packer = _Packer(file)
    try:
        packer.dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidInputError(
            f"This run cannot be shared among GPUs, as other processes cannot be told of a part of it ({error}). Let "
            "one GPU make it."
        ) from error
    return PackedRun(_ROOT.encode() + b"\n" + file.getvalue(), frozenset(packer.keys))


def unpacked(data: bytes, runtime: Runtime | None = None) -> Any:
    """What `packed` was given.

    Args:
        data: of a process that has the right to run code here: it says what is made.
        runtime: on which models are loaded; without one there may be none.

    Raises:
        PairingError: a model is another one here.
        WanDirectorError: see `load_model`.
    """
    root, _, rest = data.partition(b"\n")
    return _Unpacker(io.BytesIO(rest), root.decode(), runtime).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.keys: set[Hashable] = set()

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, WhoJoins):
            return WhoJoins.__name__
        if isinstance(obj, PlacedModel):
            return self._part(obj, obj.recipe)
        if isinstance(obj, VideoModel):
            experts = _experts(obj)
            parts = tuple(self._part(expert.placed, expert.recipe.alone) for expert in experts)
            return _SentModel(obj.recipe, parts, tuple(expert.policies for expert in experts))
        return None

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not Tensor:
            return NotImplemented
        flat = obj.detach().cpu().contiguous().reshape(-1)
        return _tensor, (flat.view(torch.uint8).numpy().tobytes(), obj.dtype, tuple(obj.shape))

    def _part(self, placed: PlacedModel, recipe: ModelRecipe) -> _SentPart:
        key = recipe.key()
        self.keys.add(key)
        return _SentPart(recipe, key, placed.weights)


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, root: str, runtime: Runtime | None) -> None:
        super().__init__(file)
        self._root, self._runtime = root, runtime

    def find_class(self, module: str, name: str) -> Any:
        is_own = module == self._root or module.startswith(f"{self._root}.")
        return super().find_class(_ROOT + module[len(self._root) :] if is_own else module, name)

    def persistent_load(self, pid: Any) -> Any:
        assert self._runtime is not None, "a message without models"
        if pid == WhoJoins.__name__:
            return self._runtime
        if isinstance(pid, _SentPart):
            placed = place(pid.recipe, self._runtime)
            pid.check(placed)
            return placed
        return _with_policies(_loaded(pid, self._runtime), pid.policies)


def _experts(model: VideoModel) -> tuple[VideoModel, ...]:
    """A model and its second one, checked.

    Raises:
        InvalidInputError: a LoRA on one lies in no file.
    """
    low = model.low_noise
    for each in (model,) if low is None else (model, low.model):
        if len(each.recipe.loras) != len(each.loras):
            raise InvalidInputError(
                f"A LoRA on {each.file} came with it from another program, and other processes cannot read it. Put it "
                "on by its file, or let one GPU make the run."
            )
    return (model,) if low is None else (model, low.model)


def _loaded(sent: _SentModel, runtime: Runtime) -> VideoModel:
    model = load_model(sent.recipe, runtime)
    for expert, part in zip(_experts(model), sent.parts, strict=True):
        part.check(expert.placed)
    return model


def _with_policies(model: VideoModel, policies: tuple[StepPolicies, ...]) -> VideoModel:
    low = model.low_noise
    if low is not None:
        low = low._replace(model=replace(low.model, policies=policies[1]))
    return replace(model, policies=policies[0], low_noise=low)


def _tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
