"""The pack inside of ComfyUI's Python, and small models that both ComfyUI's own loader and ours take.

Scripts of this folder are run by that Python: `python script.py PACK COMFYUI FOLDER [ARGUMENTS OF COMFYUI]`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PACK, COMFYUI, FOLDER = sys.argv[1:4]
sys.argv = ["main.py", "--cpu", *sys.argv[4:]]
sys.path.insert(0, COMFYUI)
os.chdir(COMFYUI)

import comfy.options  # noqa: E402  (found in the folder that was named)

comfy.options.enable_args_parsing()

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

_specification = importlib.util.spec_from_file_location(
    "wan_pack", PACK + "/__init__.py", submodule_search_locations=[PACK]
)
assert _specification is not None and _specification.loader is not None
_pack = sys.modules["wan_pack"] = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_pack)


def module(name: str) -> ModuleType:
    """A module of the pack."""
    return importlib.import_module(f"wan_pack.{name}")


torch.set_num_threads(1)  # two threads wait for each other far longer than such small matrices take
branches = module("dit.branches.clip"), module("dit.branches.vace")
TEXT = 4096
VIDEO = (3, 6, 4)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def config_of(kind: str) -> Any:
    """The sizes of a small model of a kind."""
    clip, vace = branches
    picture = {"in_channels": 36}
    changes = {
        "t2v": {},
        "high": {},
        "low": {},
        "5b": {"in_channels": 48, "out_channels": 48},
        "i2v": {**picture, "branches": (clip.ClipBranch(1280),)},
        "flf": {**picture, "branches": (clip.ClipBranch(1280, 514),)},
        "i2v-2.2": picture,
        "vace": {"branches": (vace.VaceBranch(2),)},
    }[kind]
    return module("dit.config").DiTConfig(
        dim=128, ffn_dim=96, heads=1, layers=4, text_dim=TEXT, freq_dim=256, **changes
    )


def model_file(kind: str) -> Path:
    """A file of random weights that give every part of the model a say."""
    path = Path(FOLDER) / f"{kind}.safetensors"
    if not path.exists():
        generator = torch.Generator().manual_seed(len(kind) + sum(kind.encode()))
        names = module("dit.model").WanDiT(config_of(kind)).state_dict()
        save_file({
            name: torch.randn(value.shape, generator=generator) * 0.05 + float("norm" in name and "weight" in name)
            for name, value in names.items()
        }, path)  # fmt: skip
    return path


def recipe(path: Path, **changes: Any) -> Any:
    return module("engine.recipe").ModelRecipe(path, **{"precision": "fp32", **changes})


def host() -> Any:
    return module("nodes.hosts.host").host()


def ours(path: Path, **changes: Any) -> Any:
    """What Load Wan Model gives."""
    return module("nodes.sockets.models").video_model(recipe(path, **changes), host().runtime)


def bridged(video: Any) -> Any:
    """What Wan To Native Model gives."""
    return module("nodes.bridges.to_native_model").WanDirectorToNativeModel.execute(video).result[0]


def conditioning(seed: int, values: dict[str, Any], tokens: int) -> list[list[Any]]:
    return [[random(seed, 1, tokens, TEXT) * 0.3, dict(values)]]


class ClipOutput:
    """What CLIP Vision Encode gives, as far as Wan looks at it."""

    def __init__(self, pictures: int) -> None:
        self.penultimate_hidden_states = random(31, 1, 257 * pictures, 1280)


def values_of(kind: str) -> dict[str, Any]:
    """The values of a native conditioning for a kind of model."""
    frames, height, width = VIDEO
    mask = torch.ones(1, 1, frames, height, width)
    mask[:, :, 0] = 0
    picture = {"concat_latent_image": random(32, 1, 16, *VIDEO), "concat_mask": mask}
    control = {
        "vace_frames": [random(33, 1, 32, *VIDEO), random(34, 1, 32, *VIDEO)],
        "vace_mask": [random(35, 1, 64, *VIDEO).sigmoid(), random(36, 1, 64, *VIDEO).round().clamp(0, 1)],
        "vace_strength": [1.0, 0.4],
    }
    return {
        "i2v": {**picture, "clip_vision_output": ClipOutput(1)},
        "flf": {**picture, "clip_vision_output": ClipOutput(2)},
        "i2v-2.2": picture,
        "vace": control,
    }.get(kind, {})


def latent_of(kind: str) -> dict[str, torch.Tensor]:
    """The LATENT to sample: an empty one, or for TI2V-5B one with a given first frame."""
    if kind != "5b":
        return {"samples": torch.zeros(1, 16, *VIDEO)}
    mask = torch.ones(1, 1, *VIDEO)
    mask[:, :, 0] = 0
    return {"samples": random(37, 1, 48, *VIDEO), "noise_mask": mask}


def error(ours: torch.Tensor, native: torch.Tensor) -> float:
    """The largest difference as a part of the largest value; NaN counts as infinite."""
    worst = float((ours - native).abs().max() / native.abs().max())
    return worst if worst == worst else float("inf")
