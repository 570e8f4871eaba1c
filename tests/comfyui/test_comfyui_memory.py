"""A model of ours in the hands of ComfyUI's own memory manager, with a device of any size: the meta device."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import gc, importlib, importlib.util, json, sys, weakref
pack_folder, comfyui = sys.argv[1:3]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import comfy.model_management as manager
import torch

spec = importlib.util.spec_from_file_location("pack", pack_folder + "/__init__.py")
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
pack.__path__ = [pack_folder]
spec.loader.exec_module(pack)
host, policy = (importlib.import_module("pack." + name) for name in ("nodes.hosts.residence", "memory.policy"))
config, model = (importlib.import_module("pack.dit." + name) for name in ("config", "model"))

device = torch.device("meta")
manager.get_free_memory = lambda device=None, torch_free_too=False: (10**10, 0) if torch_free_too else 10**10
sizes = dict(dim=48, ffn_dim=64, heads=4, layers=4, text_dim=24, text_tokens=16, freq_dim=32)
module = model.WanDiT(config.DiTConfig(**sizes)).eval().requires_grad_(False)
places = {name: value.data_ptr() for name, value in module.state_dict().items()}
residence = host.ComfyResidence(module, device)
steps = []

def state():
    loaded = manager.current_loaded_models
    counted = loaded[0].model_loaded_memory() if loaded else 0
    real = sum(value.nbytes for value in module.state_dict().values() if value.is_meta)
    away = sum(not block.ffn[0].weight.is_meta for block in module.blocks)
    steps.append(dict(models=len(loaded), counted=counted, real=real, away=away))

for memory in (policy.Resident(), policy.BlockSwap(3), policy.BlockSwap(3), policy.Resident()):
    with residence.loaded(1000, memory):
        state()
manager.free_memory(10**12, device)
state()
restored = {name: value.data_ptr() for name, value in module.state_dict().items()} == places
with residence.loaded(0, policy.BlockSwap(3)):
    manager.free_memory(1e30, device)  # as a callback of another pack may do between two steps
    residence.reload()
    residence.reload()
    state()
with residence.loaded():
    state()
residence.unload()  # before the other expert comes
state()
with residence.loaded():
    state()
reference = weakref.ref(module)
del residence, module
gc.collect()
manager.cleanup_models_gc()
left = len(manager.current_loaded_models)
print(json.dumps(dict(steps=steps, restored=restored, gone=reference() is None, left=left)))
"""


@pytest.mark.comfyui
def test_the_memory_manager_loads_only_what_is_resident(comfyui_place):
    comfyui, python = comfyui_place
    command = [python, "-B", "-c", SCRIPT, str(ROOT), str(comfyui)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    whole, swapped, again, back, freed, reloaded, last, away, returned = report["steps"]
    assert all(step["counted"] == step["real"] for step in report["steps"])
    assert whole["away"] == 0 and swapped["away"] == 3 and again == swapped and back == whole
    assert 0 < swapped["counted"] < whole["counted"]
    assert freed == {"models": 0, "counted": 0, "real": 0, "away": 4}
    assert report["restored"], "unloading must put the model's own tensors back"
    assert reloaded == swapped and last == whole == returned
    assert (away["counted"], away["real"]) == (0, 0)
    assert report["gone"] and report["left"] == 0
