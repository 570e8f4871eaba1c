"""ComfyUI's loaders of models and LoRAs in a plan: what their MODEL is when one of our nodes takes it over.

What ComfyUI itself does with it stays its own matter, and so does a file that it reads and we do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...common.errors import UnknownValueError, WanDirectorError
from ..headless.core_nodes.loaders import LoraLoader, LoraLoaderModelOnly, UNETLoader
from ..headless.core_nodes.sampling import ModelSamplingSD3


class PlannedUNETLoader(UNETLoader):
    """A MODEL, if it is one of Wan."""

    @classmethod
    def execute(cls, unet_name: str, weight_dtype: str) -> Any:
        return _if_known(UNETLoader.execute, unet_name, weight_dtype)


class PlannedLoraLoaderModelOnly(LoraLoaderModelOnly):
    """A MODEL with a LoRA."""

    @classmethod
    def execute(cls, model: Any, lora_name: str, strength_model: float) -> Any:
        return _if_known(LoraLoaderModelOnly.execute, model, lora_name, strength_model)


class PlannedLoraLoader(LoraLoader):
    """A MODEL with a LoRA, and the text encoder."""

    @classmethod
    def execute(cls, model: Any, clip: Any, lora_name: str, strength_model: float, strength_clip: float) -> Any:
        return _if_known(LoraLoader.execute, model, clip, lora_name, strength_model, strength_clip)


class PlannedModelSamplingSD3(ModelSamplingSD3):
    """A MODEL with a shift."""

    @classmethod
    def execute(cls, model: Any, shift: float) -> Any:
        return _if_known(ModelSamplingSD3.execute, model, shift)


def _if_known(execute: Callable[..., Any], *values: Any) -> Any:
    try:
        return execute(*values)
    except WanDirectorError as error:
        raise UnknownValueError(str(error)) from None


_NODES = (PlannedUNETLoader, PlannedLoraLoaderModelOnly, PlannedLoraLoader, PlannedModelSamplingSD3)
MODEL_NODES: dict[str, type] = {node.define_schema().node_id: node for node in _NODES}
"""Name in a workflow -> class."""
