"""Our models in ComfyUI's own cache of node outputs while RAM is short."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import collections, importlib, importlib.util, json, pathlib, sys
pack_folder, comfyui, model_file = sys.argv[1:4]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
from comfy_execution import caching
import psutil
import torch

if not hasattr(caching, "all_outputs_dynamic"):
    print(json.dumps(None))
    sys.exit()
spec = importlib.util.spec_from_file_location("pack", pack_folder + "/__init__.py")
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
pack.__path__ = [pack_folder]
spec.loader.exec_module(pack)
models = importlib.import_module("pack.nodes.sockets.models")
recipe = importlib.import_module("pack.engine.recipe").ModelRecipe
runtime = importlib.import_module("pack.nodes.hosts.host").host().runtime
load = lambda precision: models.video_model(
    recipe(pathlib.Path(model_file), precision=precision, attention="sdpa"), runtime
)

short = collections.namedtuple("Memory", "available")(0)
psutil.virtual_memory = lambda: short
caching.virtual_memory_available = lambda: 0
Entry = collections.namedtuple("Entry", "outputs ui")
cache = caching.RAMPressureCache(caching.CacheKeySetID)
outputs = {"mapped": load("auto"), "converted": load("fp32"), "frames": torch.zeros(1000)}
for key, output in outputs.items():
    cache.cache[key] = Entry([[output]], None)
    cache.used_generation[key] = cache.generation = 1
    cache.timestamps[key] = 0.0
cache.ram_release(1e12, free_active=True)
running = sorted(cache.cache)
cache.generation = 2  # another workflow runs
cache.ram_release(1e12)
print(json.dumps([running, sorted(cache.cache)]))
"""


@pytest.mark.comfyui
def test_a_model_of_windows_into_its_file_stays_while_its_workflow_runs(comfyui_place, tmp_path: Path):
    comfyui, python = comfyui_place
    model = tmp_path / "bf16.safetensors"
    with safe_open(ROOT / "models" / "diffusion_models" / "wan_director_tiny_demo_t2v.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name).to(torch.bfloat16) for name in file.keys()}  # noqa: SIM118
        save_file(weights, model, file.metadata())
    command = [python, "-B", "-c", SCRIPT, str(ROOT), str(comfyui), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout.splitlines()[-1])
    if left is None:
        pytest.skip("this ComfyUI does not ask its models")
    assert left == [["mapped"], []]
