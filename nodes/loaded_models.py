"""Loading each model file only once, as the objects of `models`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..dit.adapters import ParameterShapes
from ..memory.policy import streaming_in
from ..model_loading import build
from ..model_loading.precision import Precision
from ..model_loading.spec import ModelSpec
from ..model_loading.vace_module import add_vace_module
from ..text_encoder.encode import PromptTokens, encode_tokens
from .host import Residence, host
from .memory_settings import MemorySettings, check_for_cpu, tell
from .memory_tasks import bytes_of, text_task
from .models import WanClipVision, WanModel, WanTextEncoder, WanVAE

_loaded: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
"""The models in memory by file, state of the file and options, for as long as someone (ComfyUI's cache) holds them."""


def load_model(
    path: Path, *, precision: Precision, attention: str, vace_module: Path | None = None, fp32_residual: bool = False
) -> WanModel:
    """The transformer of a file, with the VACE module of another one if there is one.

    It is the same object while it is in use and the files unchanged.
    """

    def load() -> WanModel:
        options = _load_options(path, "diffusion_models", "auto", precision)
        loaded = build.load_dit(path, attention=attention, fp32_residual=fp32_residual, **options)
        if vace_module is not None:
            loaded = add_vace_module(loaded, vace_module, precision=precision, attention=attention)
        residence = host().residence(loaded.module, options["device"])
        return WanModel(loaded.spec, loaded.dtype, residence, ParameterShapes.of(loaded.module))

    module_key = None if vace_module is None else build.model_key(vace_module)
    return _once(build.model_key(path, precision, "model", attention, module_key, fp32_residual), load)


def load_vae(path: Path, *, precision: Precision) -> WanVAE:
    """The VAE of a file; see `load_model`."""

    def load() -> WanVAE:
        options = _load_options(path, "vae", "auto", precision)
        loaded = build.load_vae(path, **options)
        return WanVAE(loaded.spec, loaded.dtype, host().residence(loaded.module, options["device"]))

    return _once(build.model_key(path, precision, "vae"), load)


def load_text_encoder(path: Path, *, precision: Precision, device: str) -> WanTextEncoder:
    """The text encoder of a file; see `load_model`."""

    def load() -> WanTextEncoder:
        options = _load_options(path, "text_encoders", device, precision)
        loaded = build.load_text_encoder(path, **options)
        residence = host().residence(loaded.module, options["device"])
        # One embedding of the Wan encoder is 8 MB; the negative prompt of a session rarely changes.
        embed = lru_cache(maxsize=8)(partial(_embed, loaded.spec, loaded.dtype, residence))
        return WanTextEncoder(loaded.spec, loaded.tokenizer, residence, embed)

    return _once(build.model_key(path, precision, "text encoder", device), load)


def load_clip_vision(path: Path) -> WanClipVision:
    """The picture encoder of a file; see `load_model`."""

    def load() -> WanClipVision:
        options = _load_options(path, "clip_vision", "auto", "auto")
        loaded = build.load_clip_vision(path, **options)
        return WanClipVision(loaded.spec, host().residence(loaded.module, options["device"]))

    return _once(build.model_key(path, "auto", "clip vision"), load)


def _load_options(path: Path, kind: str, device: str, precision: Precision) -> dict[str, Any]:
    """Precision, the device the model will run on, and a hook that shows progress and stops when asked to."""
    progress = None

    def on_tensor(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or host().progress(total, f"loading {path.name}")
        host().check_interrupt()
        progress.update(done)

    return {"precision": precision, "device": host().device(kind, device), "on_tensor": on_tensor}


def _once(key: Hashable, load: Callable[[], Any]) -> Any:
    loaded = _loaded.get(key)
    if loaded is None:
        loaded = _loaded[key] = load()
    return loaded


def _embed(
    spec: ModelSpec, dtype: torch.dtype, residence: Residence, prompt: PromptTokens, memory: MemorySettings
) -> Tensor:
    host().check_interrupt()
    if memory.text_encoder == "cpu":
        check_for_cpu(dtype, spec.path.name, "Load Wan Text Encoder")
        residence.unload()
        return encode_tokens(residence.module, prompt)
    task = text_task(bytes_of(residence.module, dtype), spec.config, len(prompt.ids))
    choice = memory.choose(task, residence.device, lambda _limit: ("computed on the CPU: choose text_encoder 'cpu'",))
    policy = memory.policy(choice)
    tell(choice)
    with (
        residence.loaded(choice.way.working_bytes, policy) as encoder,
        streaming_in(encoder, policy, residence.device, residence.slabs),
    ):
        return encode_tokens(encoder, prompt).cpu()
