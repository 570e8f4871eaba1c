"""A plan counts the passes that a run makes, whatever the solver asks, and says in how many windows."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.shapes import VideoShape
from wan_director.memory.budget import GB
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.planning.plan import machine, plan_graph
from wan_director.nodes.planning.stages import find_stages
from wan_director.sampling.loop import begin, levels_asked, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS

from ..conftest import call, encode, load, load_vae, save_experts
from .directing import edited, enlarged
from .graphs import experts, t2v

pytestmark = pytest.mark.usefixtures("inference")

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}
SAMPLER = {"seed": 7, "cfg": 3.0, "steps": 4, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}
WINDOWS = {"frames": 13, "overlap": 4, "schedule": "static", "blend": "pyramid", "noise": "repeated"}


class Counting:
    """A model that says 0, and remembers where it was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.kept: dict[str, torch.Tensor] = {}

    def start(self, kept=None) -> Counting:
        return self

    def __call__(self, latent, level, timesteps=None):
        self.asked.append(level.sigma)
        return torch.zeros_like(latent)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_asks_where_it_is_said_to(name):
    schedule, model = make_schedule("simple", 5, 5.0).from_below_one(5.0), Counting()
    for _ in sample(model, SOLVERS[name], schedule, begin(SOLVERS[name], schedule, torch.zeros(1, 2, 1, 2, 2), seed=1)):
        pass
    steps = levels_asked(SOLVERS[name], schedule)
    assert len(steps) == 5 and [level.sigma for levels in steps for level in levels] == model.asked


def planned(graph: dict):
    return [stage.job.run_work for stage in find_stages(parse_graph(graph, CLASSES)).stages if stage.kind == "sample"]


def windowed(graph: dict, model: str, **changed) -> dict:
    graph["windows"] = {"class_type": "WanDirectorWindows", "inputs": {**WINDOWS, "model": [model, 0], **changed}}
    graph["sample"]["inputs"] |= {"model": ["windows", 0]}
    return graph


@pytest.mark.parametrize("solver", ["euler", "heun", "seeds_3"])
@pytest.mark.parametrize(
    ("options", "windows"),
    [({}, 3), ({"schedule": "moving"}, 3), ({"from_sigma": 0.8}, 3), ({"frames": 97}, 1)],
)
def test_as_many_passes_are_planned_as_are_made(solver, options, windows):
    graph = windowed(t2v(), "model", **options)
    graph["sample"]["inputs"] |= {**SAMPLER, "solver": solver}
    graph["size"]["inputs"] |= {"width": 64, "height": 48, "frames": 29}
    (work,) = planned(graph)
    model, passes = call("Windows", model=load("t2v.safetensors"), **WINDOWS | options), []
    positive, negative = encode("text.safetensors")
    hook = model.residence.module.head.register_forward_hook(lambda *_call: passes.append(1))
    call(
        "Sampler", model=model, positive=positive, negative=negative, latent={"samples": torch.zeros(1, 16, 8, 6, 8)},
        **SAMPLER | {"solver": solver},
    )  # fmt: skip
    hook.remove()
    assert work.passes == len(passes)
    assert (work.windows, work.seen) == (windows, VideoShape(13 if windows > 1 else 29, 48, 64))


TILES = {"tile_width": 64, "tile_height": 48, "tile_overlap": 16}


@pytest.mark.parametrize(("cfg", "sides"), [(3.0, 2), (1.0, 1)])
def test_an_enlarged_clip_is_planned_with_the_passes_of_all_tiles_windows_and_steps(cfg, sides, tmp_path):
    """9 frames in windows of 5 that share 4, of 128 x 96 pixels in 3 x 3 tiles."""
    graph = enlarged()
    graph["upscale"]["inputs"] |= {**TILES, "cfg": cfg, "images": ["clip", 0]}
    graph["clip"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 9, "color": 0}}
    (work,) = planned(graph)
    windows, steps = 2, 3
    assert work == (9 * windows * steps * sides, 9 * windows, VideoShape(5, 48, 64))
    model, passes = load("t2v.safetensors"), []
    hook = model.residence.module.head.register_forward_hook(lambda *_call: passes.append(1))
    seen = call("Windows", model=model, frames=5, overlap=4, schedule="static", blend="linear", noise="fresh")
    positive, negative = encode("text.safetensors")
    values = {name: value for name, value in graph["upscale"]["inputs"].items() if not isinstance(value, list)}
    call(
        "UpscaleVideo", model=seen, positive=positive, negative=negative, vae=load_vae("vae.safetensors"),
        images=torch.zeros(9, 48, 64, 3), **values,
    )  # fmt: skip
    hook.remove()
    assert len(passes) == work.passes
    text = plan_graph(parse_graph(graph, CLASSES), machine(8 * GB), node_classes=CLASSES).text
    words = f"in 18 tiles of at most 5 frames of 64 x 48 at a time: {work.passes} passes of the model in all"
    assert words in text


@pytest.mark.parametrize("auto_mask", ["off", "words"])
def test_an_edit_is_planned_with_the_passes_that_find_its_mask(auto_mask):
    graph = {
        name: node for name, node in edited().items() if name in ("model", "vae", "encoder", "text", "before", "edit")
    }
    graph["windows"] = {"class_type": "WanDirectorWindows", "inputs": {**WINDOWS, "model": ["model", 0], "frames": 5}}
    graph["frames"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 9, "color": 0}}
    graph["clip"] = {"class_type": "WanDirectorEncode", "inputs": {"vae": ["vae", 0], "images": ["frames", 0]}}
    graph["edit"]["inputs"] |= {"model": ["windows", 0], "latent": ["clip", 0], "auto_mask": auto_mask}
    model, passes = call("Windows", model=load("t2v.safetensors"), **WINDOWS | {"frames": 5}), []
    positive, negative = encode("text.safetensors")
    values = {name: value for name, value in graph["edit"]["inputs"].items() if not isinstance(value, list)}
    hook = model.residence.module.head.register_forward_hook(lambda *_call: passes.append(1))
    call(
        "EditClip", model=model, positive=positive, negative=negative, source=negative,
        latent={"samples": torch.ones(1, 16, 3, 6, 8)}, **values,
    )  # fmt: skip
    hook.remove()
    found = plan_graph(parse_graph(graph, CLASSES), machine(8 * GB), node_classes=CLASSES)
    assert f"in 2 windows of at most 5 frames at a time: {len(passes)} passes of the model in all, about" in found.text


def test_each_expert_counts_its_own(models):
    """The high-noise one is asked for both prompts and the low-noise one for one; heun's last step asks once."""
    save_experts(models)
    graph = experts()
    high, low = (work.passes for work in planned(graph))
    assert high % 2 == 0 and high // 2 + low == 6
    graph["sample"]["inputs"] |= {"solver": "heun"}
    assert [work.passes for work in planned(graph)] == [2 * high, 2 * low - 1]


def test_the_plan_says_it_in_words():
    graph = windowed(t2v(), "model")
    graph["size"]["inputs"] |= {"frames": 29}
    graph["sample"]["inputs"] |= {"steps": 2}
    text = plan_graph(parse_graph(graph, CLASSES), machine(8 * GB), node_classes=CLASSES).text
    assert "    in 3 windows of at most 13 frames at a time: 12 passes of the model in all, about 0." in text
    short = plan_graph(parse_graph(graph, CLASSES), machine(8 * GB), VideoShape(13, 48, 64), node_classes=CLASSES)
    assert "windows" not in short.text and "passes" not in short.text
