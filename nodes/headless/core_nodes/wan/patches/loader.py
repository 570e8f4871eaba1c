"""The loader of parts of a model in files of their own, and how such a part is put onto one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ......common.checking import instance_of
from ......common.errors import InvalidInputError
from ......engine.models import with_policies
from ......model_loading.branch_module import ModuleKind
from ......model_loading.kinds import DIT, INFINITETALK_MODULE, MODEL_KINDS, UNI3C_MODULE
from ......model_loading.opening import open_checkpoint
from ......model_loading.outline import outline
from ......model_loading.publishing.known_files import known_file
from ......model_loading.recognition.detect import inspect_checkpoint
from ..... import standin as io
from .....api import answer
from .....files.model_files import ModuleFile, check_model, find_model
from .....hosts.host import host
from .....sockets.models import video_model
from .....sockets.native_model import NativeModel

ModelPatch = io.Custom("MODEL_PATCH")


class ModelPatchLoader(io.ComfyNode):
    """A part of a model in a file of its own; of Wan, Uni3C and InfiniteTalk."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ModelPatchLoader",
            category="model/loaders",
            inputs=[io.String.Input("name", tooltip="A file in models/model_patches.")],
            outputs=[ModelPatch.Output()],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return answer(_check_patch, name)

    @classmethod
    def execute(cls, name: str) -> Any:
        return io.NodeOutput(ModuleFile(_kind_of(name), name))


def patched(native: NativeModel, patch: Any, kind: ModuleKind) -> NativeModel:
    """A model with a part from a file of its own.

    Raises:
        InvalidInputError: the part is none, or of another kind.
        MissingFileError, CheckpointError, PairingError: see `outline`.
    """
    instance_of(patch, ModuleFile, "model_patch", "the part of ModelPatchLoader")
    if patch.kind is not kind:
        raise InvalidInputError(
            f"{patch.name} is of the kind {patch.kind.title}, and this node works with the {kind.title}. Choose "
            f"{kind.example} in ModelPatchLoader."
        )
    recipe = replace(native.model.recipe, **{kind.name: patch.path})
    outline(recipe.path, DIT, modules=recipe.modules)
    loaded = with_policies(video_model(recipe, host().runtime), lambda _: native.model.policies)
    return replace(native, model=loaded)


def _kind_of(name: str) -> ModuleKind:
    """Which part a file of models/model_patches is, by its header, or by its name before it is there."""
    path = find_model(UNI3C_MODULE.folder_name, name)
    if os.path.exists(path):
        kind = inspect_checkpoint(open_checkpoint(path)).kind
    else:
        known = known_file(name)
        kind = UNI3C_MODULE if known is None else MODEL_KINDS.get(known.kind.name)
    return INFINITETALK_MODULE if kind is INFINITETALK_MODULE else UNI3C_MODULE


def _check_patch(name: str | None) -> None:
    """See `check_model`."""
    if name is not None:
        check_model(_kind_of(name), name)
