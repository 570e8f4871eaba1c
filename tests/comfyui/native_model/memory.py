"""Our bridged model in the hands of ComfyUI's memory manager, with a device of any size: the meta device."""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from typing import Any

import bench

import comfy.model_management as manager  # isort: skip  (its folder is named in bench)
import comfy.sample  # isort: skip
import comfy.sd  # isort: skip
import torch

META = torch.device("meta")
KB, GB = 10**3, 10**9
FLOOR = "128 * 1024 * 1024" in inspect.getsource(manager.load_models_gpu)
"""Whether this version gives every model 128 MB at least, more than this one takes."""
FREE = [GB]
manager.get_torch_device = lambda: META
manager.get_free_memory = lambda device=None, torch_free_too=False: (FREE[0], 0) if torch_free_too else FREE[0]
manager.EXTRA_RESERVED_VRAM = 0
manager.minimum_inference_memory = lambda: 0

video = bench.ours(bench.model_file("t2v"))
module = video.residence.module
places = {name: value.data_ptr() for name, value in module.state_dict().items()}
WHOLE = sum(value.nbytes for value in module.state_dict().values())
BLOCK = sum(value.nbytes for value in module.blocks[0].state_dict().values())
model = bench.bridged(video)


def state() -> dict[str, Any]:
    """What the manager counts, what is there, and how many blocks are not."""
    loaded = manager.current_loaded_models
    real = sum(value.nbytes for value in module.state_dict().values() if value.is_meta)
    away = sum(not block.ffn[0].weight.is_meta for block in module.blocks)
    counted = sum(each.model_loaded_memory() for each in loaded)
    return {"models": len(loaded), "counted": counted, "real": real, "away": away}


def loaded(patcher: Any, free: int) -> dict[str, Any]:
    """After a sampler has asked for the model on a device of this size, and a pass needs 1 kB."""
    FREE[0] = free - sum(value.nbytes for value in module.state_dict().values() if value.is_meta)
    if FLOOR and free < GB:
        entry = manager.LoadedModel(patcher)
        entry.model_load(free - KB)
        manager.current_loaded_models.insert(0, entry)
    else:
        manager.load_models_gpu([patcher], memory_required=KB, minimum_memory_required=KB)
    return state()


def normal() -> dict[str, Any]:
    """As with a card, without options."""
    manager.vram_state, manager.lowvram_available = manager.VRAMState.NORMAL_VRAM, True
    steps: dict[str, Any] = {"whole": loaded(model, GB)}
    manager.unload_all_models()
    steps["freed"] = state()
    steps["restored"] = {name: value.data_ptr() for name, value in module.state_dict().items()} == places
    steps["small"] = loaded(model, WHOLE - BLOCK // 4)
    manager.unload_all_models()
    manager.vram_state = manager.VRAMState.LOW_VRAM
    steps["low"] = loaded(model, WHOLE - BLOCK // 4)
    manager.vram_state = manager.VRAMState.NORMAL_VRAM
    steps["grown"] = loaded(model, GB)
    FREE[0] = 0
    manager.free_memory(BLOCK, META)  # another model wants room
    steps["gave way"] = state()
    steps["back"] = loaded(model, GB)
    with video.residence.loaded():  # Wan Sampler runs the same weights
        steps["own sampler"] = state()
    steps["bridged again"] = loaded(model, GB)
    clone = model.clone()
    steps["clone"] = loaded(clone, GB)
    del clone
    gc.collect()
    manager.cleanup_models_gc()
    steps["clone gone"] = state()
    manager.free_memory(1e30, META)
    steps["freed after it"] = state()
    return steps


def no_vram() -> dict[str, Any]:
    """As with --novram."""
    manager.vram_state = manager.VRAMState.NO_VRAM
    step = loaded(model, GB)
    manager.unload_all_models()
    return step


def on_the_cpu() -> dict[str, Any]:
    """Runs in which weights are taken away: bit for bit the same."""
    manager.get_torch_device = lambda: torch.device("cpu")
    native = bench.bridged(bench.ours(bench.model_file("high")))
    plain = sampled(native, lambda step: None)
    changes = {
        "a part": lambda step: native.partially_unload(torch.device("cpu"), 2 * BLOCK) if step == 0 else None,
        "part by part": lambda step: native.partially_unload(torch.device("cpu"), BLOCK),
        "all": lambda step: manager.unload_all_models() if step == 1 else None,
        "all, each time": lambda step: manager.free_memory(1e30, torch.device("cpu")),
    }
    same = {name: bool(torch.equal(sampled(native, change), plain)) for name, change in changes.items()}
    layers = {type(layer).__name__ for layer in native.model.modules()}
    return {"same": same, "left on": "AdaptedLinear" in layers}


def sampled(patcher: Any, change: Any) -> torch.Tensor:
    latent = bench.latent_of("t2v")["samples"]
    sides = bench.conditioning(1, {}, 24), bench.conditioning(2, {}, 24)
    noise = comfy.sample.prepare_noise(latent, 5)
    return comfy.sample.sample(
        patcher, noise, 4, 3.0, "euler", "simple", *sides, latent, callback=lambda step, *_: change(step), seed=5
    )


def forgotten() -> bool:
    """Whether the weights go when nobody holds them."""
    global video, model, module
    reference = weakref.ref(module)
    del video, model, module
    gc.collect()
    manager.cleanup_models_gc()
    return reference() is None


with torch.inference_mode():
    report = {"sizes": [WHOLE, BLOCK], "normal": normal(), "novram": no_vram(), "cpu": on_the_cpu()}
    report["dynamic"] = hasattr(model, "is_dynamic") and model.is_dynamic()
    report["forgotten"] = forgotten()
print(json.dumps(report))
