"""What decides the result of a run, to the bit: two runs of which all of it is the same make the same video."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ...sampling.cache import RatioRecorder
from ...sampling.experts import Expert
from ...sampling.guidance import CFG
from ..loaded import PlacedModel
from ..models import VideoModel
from ..recipe import file_stamp
from ..resuming.folder import seeded
from ..sampling.experts import GuidedModel
from .digest import NoDigest, digest

_PACK = Path(__file__).resolve().parents[2]
_COMPUTE = ("common", "weights", "dit", "vae3d", "sampling", "memory", "model_loading", "media", "engine")
"""The folders of the pack whose code makes a video out of models and prompts."""
_KERNELS = (
    "sageattention",
    "sageattn3",
    "flash_attn",
    "flash_attn_3",
    "xformers",
    "comfy_kitchen",
    "torchao",
)
"""Packages that may compute a part of it."""


def run_key(experts: Mapping[Expert, GuidedModel], device: torch.device, seed: int, *decisive: Any) -> str:
    """The key of a run, see `resuming`.

    Args:
        experts: its models, and how they are asked.
        device: that they compute on.
        seed: the run's; what has all but it in common has keys of which that can be told.
        decisive: whatever else its result depends on: prompts, latents, settings.

    Raises:
        NoDigest: it depends on something of which it cannot be known whether it is the same in another process.
    """
    models = {name: (_model(expert.model), expert.guidance) for name, expert in experts.items()}
    return seeded(digest((_code(), _machine(device), models, decisive)), seed)


def model_identity(model: VideoModel) -> Any:
    """What decides the videos of a model and of its second expert, guidance and all, on the machine at hand.

    Raises:
        NoDigest: as `run_key`.
    """
    low = model.low_noise
    second = None if low is None else (model_identity(low.model), low.cfg, low.high_steps)
    return _code(), _machine(model.residence.device), _model(model), model.policies.guidance, second


def placed_identity(placed: PlacedModel) -> Any:
    """What decides the work of another part of a video model.

    Raises:
        NoDigest: as `run_key`.
    """
    recipe = placed.recipe
    return _code(), _machine(placed.residence.device), _file(recipe.path), recipe.key(), placed.dtype


def _model(model: VideoModel) -> Any:
    """All that is said of a model; of its policies without the guidance, which a run makes of them with its scale."""
    recipe, policies = model.recipe, replace(model.policies, guidance=CFG)
    if isinstance(policies.cache, RatioRecorder):
        raise NoDigest("figures of all its steps, which are recorded")
    ways = (model.dtype, recipe.alone, model.execution.multiply)
    return _file(recipe.path), recipe.key(), ways, _loras(model), policies


def _loras(model: VideoModel) -> list[Any]:
    """By their files, or where they came another way, by their values."""
    recipes = model.recipe.loras
    if len(recipes) != len(model.loras):
        return list(model.loras)
    return [(_file(lora.path), lora) for lora in recipes]


def _file(path: Path) -> tuple[Path, Hashable]:
    stamp = file_stamp(path)
    if stamp is None:
        raise NoDigest(f"weights that lie in no file ({path.name})")
    return path, stamp


def _code() -> str:
    """The pack's own code that makes a video."""
    return code_identity(*_COMPUTE)


@cache
def code_identity(*folders: str) -> str:
    """The code in these folders of the pack: after an update, what it makes is another thing.

    Raises:
        NoDigest: it cannot be read.
    """
    hasher = hashlib.sha256()
    try:
        for file in sorted(file for folder in folders for file in (_PACK / folder).rglob("*.py")):
            hasher.update(file.relative_to(_PACK).as_posix().encode())
            hasher.update(file.read_bytes())
    except OSError:
        raise NoDigest("code of the pack that cannot be read") from None
    return hasher.hexdigest()


def _machine(device: torch.device) -> Any:
    """What computes, and how its libraries are set."""
    if device.type == "cuda":
        unit = torch.cuda.get_device_name(device)
    else:
        unit = f"{device.type} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"
    settings = (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())
    return unit, torch.__version__, settings, {name: _version(name) for name in _KERNELS}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
