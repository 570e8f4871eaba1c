"""Wan Memory: untouched it changes nothing, a small budget changes no bit, too small a one is refused."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
import wan_director
from PIL import Image
from wan_director.common.errors import InvalidInputError, OutOfMemory
from wan_director.common.shapes import LatentShape, VideoShape
from wan_director.engine.local import LocalRuntime
from wan_director.engine.memory import AUTOMATIC, MemoryWidgets
from wan_director.engine.sampling.task import sampling_task
from wan_director.engine.tasks import bytes_of, decoding_task, text_task
from wan_director.memory.budget import GB, Budget
from wan_director.memory.plan import smallest_bytes
from wan_director.memory.tensors import held_tensors
from wan_director.model_loading import kinds
from wan_director.model_loading.build import load
from wan_director.model_loading.footprint import model_bytes
from wan_director.model_loading.opening import open_checkpoint
from wan_director.model_loading.recognition.detect import inspect_checkpoint
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import host, use_host
from wan_director.nodes.options.memory import with_memory
from wan_director.nodes.standin import HiddenHolder
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.vae import CausalVAE

from .conftest import TINY, call, dit, save_model, tokenizer_json

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
UNTOUCHED = {
    "mode": "auto", "budget": "leave free", "gigabytes": 1.0, "blocks_to_swap": 0, "pinned_ram": 0.0,
    "text_encoder": "auto", "vae": "auto", "vae_strips": 0, "feed_forward_tokens": 0,
}  # fmt: skip
SAMPLER = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0}


def memory(**changes):
    return call("Memory", **{**UNTOUCHED, **changes})


def make(memory=None, *, sampler_memory=None, model: str = "t2v.safetensors", frames: int = 9) -> tuple:
    """(text embedding, latent, frames) of the whole way, with these settings everywhere or at the sampler alone."""
    also = {} if memory is None else {"memory": memory}
    sampler = also if sampler_memory is None else {"memory": sampler_memory}
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")
    vae = call("LoadVAE", vae_name="vae.safetensors", precision="auto")
    model = call("LoadModel", model_name=model, precision="auto", attention="auto")
    sides = call("TextEncode", text_encoder=encoder, positive="a red ball", negative="bad", **also)
    latent = call("EmptyLatent", vae=vae, width=64, height=96, frames=frames, batch_size=1)
    sampled = call("Sampler", model=model, positive=sides[0], negative=sides[1], latent=latent, **SAMPLER, **sampler)
    return sides[0][0][0], sampled["samples"], call("Decode", vae=vae, latent=sampled, **also)


@pytest.fixture
def deep(models) -> str:
    """A model of six blocks; of two, swapping saves nothing."""
    save_model(models / "diffusion_models" / "deep.safetensors", dit(layers=6), TINY)
    return "deep.safetensors"


def task_of(model: str):
    """Sampling on the way of `make`."""
    loaded = call("LoadModel", model_name=model, precision="auto", attention="auto")
    weights, shape = bytes_of(loaded.residence.module, loaded.dtype), LatentShape(16, 3, 12, 8)
    return sampling_task(weights, loaded.spec.config, 1, shape, passes=2, run=0)


def watch_strips(monkeypatch) -> list[int]:
    asked = []
    whole = CausalVAE.decode_stream

    def decode_stream(self, latent, strips, **rest):
        asked.append(strips)
        return whole(self, latent, strips, **rest)

    monkeypatch.setattr(CausalVAE, "decode_stream", decode_stream)
    return asked


def assert_same(found, expected):
    assert [torch.equal(*pair) for pair in zip(found, expected)] == [True] * 3


def test_settings_as_they_are_equal_none():
    assert memory() == AUTOMATIC == MemoryWidgets().settings()
    assert_same(make(memory()), make())


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_small_budget_swaps_and_changes_no_bit(part, caplog, deep):
    expected, task = make(model=deep), task_of(deep)
    least, most = smallest_bytes(task), task.fixed_bytes + sum(task.block_bytes) + task.ways[0].working_bytes
    budget = memory(budget="use at most", gigabytes=(least + part * (most - least)) / GB)
    with caplog.at_level(logging.INFO, "wan_director"):
        found = make(sampler_memory=budget, model=deep)
    assert_same(found, expected)
    assert "of 6 blocks are swapped in" in caplog.text


def test_a_small_budget_cuts_strips(monkeypatch):
    asked = watch_strips(monkeypatch)
    vae = call("LoadVAE", vae_name="vae.safetensors", precision="auto")
    task = decoding_task(bytes_of(vae.residence.module, vae.dtype), vae.spec.config, VideoShape(9, 96, 64))
    # In a network as narrow as this one the finished frames that wait weigh most, so that two strips may save nothing.
    thrifty = min(task.ways, key=lambda way: way.working_bytes)
    small = memory(budget="use at most", gigabytes=(task.fixed_bytes + thrifty.working_bytes) / GB)
    latent = {"samples": torch.randn(1, 16, 3, 12, 8, generator=torch.Generator().manual_seed(0))}
    whole, cut = (call("Decode", vae=vae, latent=latent, memory=each) for each in (None, small))
    assert asked == [1, thrifty.number] and thrifty.number > 1
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)


def test_the_text_encoder_is_swapped_too(models, caplog):
    config = UMT5Config(vocab=259, dim=128, attention_dim=32, ffn_dim=32, heads=2, layers=5)
    tokens = torch.tensor(list(tokenizer_json().encode()), dtype=torch.uint8)
    save_model(models / "text_encoders" / "deep.safetensors", UMT5Encoder(config), TINY, tokenizer_json=tokens)
    encoder = call("LoadTextEncoder", text_encoder_name="deep.safetensors", precision="auto", device="auto")
    prompt = {"text_encoder": encoder, "positive": "a red ball", "negative": ""}
    expected = call("TextEncode", **prompt)
    length = len(encoder.tokenize("a red ball")["umt5xxl"][0])
    module = load(kinds.TEXT_ENCODER, models / "text_encoders" / "deep.safetensors").module
    least = smallest_bytes(text_task(bytes_of(module, torch.float32), config, length))
    with caplog.at_level(logging.INFO, "wan_director"):
        found = call("TextEncode", **prompt, memory=memory(budget="use at most", gigabytes=least / GB))
    assert torch.equal(found[0][0][0], expected[0][0][0])
    assert "5 of 5 blocks are swapped in" in caplog.text


@pytest.mark.parametrize("changes", [{"blocks_to_swap": 2}, {"blocks_to_swap": 99, "pinned_ram": 0.001}])
def test_blocks_swapped_by_hand_change_no_bit(changes, caplog):
    expected = make()
    with caplog.at_level(logging.INFO, "wan_director"):
        assert_same(make(memory(mode="manual", **changes)), expected)
    assert "2 of 2 blocks are swapped in" in caplog.text


def test_strips_and_short_runs_give_the_same():
    expected = make()
    found = make(memory(vae_strips=3, feed_forward_tokens=16))
    assert torch.equal(found[0], expected[0])
    for part, whole in zip(found[1:], expected[1:]):
        torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)


def test_strips_are_used(monkeypatch):
    asked = watch_strips(monkeypatch)
    make(memory(vae_strips=2))
    make()
    assert asked == [2, 1]


def test_what_does_not_fit_is_refused_with_what_would(deep):
    with pytest.raises(OutOfMemory, match="does not fit into 0.1 MB: to encode the prompt takes .*text_encoder 'cpu'"):
        make(memory(budget="use at most", gigabytes=0.0001))
    budget = memory(budget="use at most", gigabytes=smallest_bytes(task_of(deep)) / GB)
    with pytest.raises(OutOfMemory, match="to sample takes .* What would fit: at most 9 frames"):
        make(sampler_memory=budget, model=deep, frames=81)


def test_the_cpu_gives_the_same_and_refuses_fp16(monkeypatch):
    assert_same(make(memory(text_encoder="cpu", vae="cpu")), make())
    vae = call("LoadVAE", vae_name="vae.safetensors", precision="auto")
    with pytest.raises(InvalidInputError, match="loaded in fp16, in which a CPU computes a thousand times slower"):
        replace(vae, placed=replace(vae.placed, dtype=torch.float16), memory=memory(vae="cpu")).decode(
            torch.zeros(1, 16, 2, 6, 8)
        )


def test_widgets_become_settings():
    made = MemoryWidgets("manual", "use at most", 6.5, 20, 12.0, "cpu", "auto", 2, 2048).settings()
    assert made.budget == Budget("use at most", 6_500_000_000)
    assert (made.blocks_to_swap, made.pinned_bytes, made.strips, made.feed_forward_run) == (20, 12 * GB, 2, 2048)
    assert MemoryWidgets("auto", blocks_to_swap=20).settings().blocks_to_swap is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": "use most"}, "The budget is one of leave free, use at most, got 'use most'"),
        ({"text_encoder": "gpu"}, "The text_encoder is one of auto, cpu, got 'gpu'"),
        ({"vae": "cuda"}, "The vae is one of auto, cpu, got 'cuda'"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        MemoryWidgets(**changes).settings()


def test_a_misspelt_widget_is_refused():
    with pytest.raises(TypeError, match="vae_stripes"):
        MemoryWidgets(vae_stripes=2)


def test_a_vae_of_another_pack_is_left_alone():
    foreign = object()
    assert with_memory(foreign, memory()) is foreign


def test_the_node_shows_the_plan_of_its_workflow(models, tmp_path, prompt_of_the_way):
    class Canvas(HeadlessHost):
        def preview_folder(self):
            return tmp_path / "temp"

    class Card(LocalRuntime):
        def available_bytes(self, device):
            return 8 * GB

    use_host(Canvas(folders=models_in(models), runtime=Card("cpu")))
    node = type("Running", (NODES["WanDirectorMemory"],), {"hidden": HiddenHolder("9", prompt_of_the_way)})
    shown = node.execute(**UNTOUCHED).ui
    assert "sample" in shown["text"][0] and "decode" in shown["text"][0]
    with Image.open(tmp_path / "temp" / shown["images"][0]["filename"]) as picture:
        assert picture.size == (420, 3 * 46 + 8)
    prompt_of_the_way["1"]["inputs"]["model_name"] = "nowhere.safetensors"
    assert "nowhere.safetensors is not in the models folders" in node.execute(**UNTOUCHED).ui["text"][0]


def test_headless_the_node_shows_nothing(prompt_of_the_way):
    node = type("Running", (NODES["WanDirectorMemory"],), {"hidden": HiddenHolder("9", prompt_of_the_way)})
    assert node.execute(**UNTOUCHED).ui is None
    assert host().runtime.available_bytes(torch.device("cpu")) is None


@pytest.fixture
def prompt_of_the_way() -> dict:
    """The way of `make` in the server's form, with a node of another pack in it."""
    return {
        "1": {"class_type": "WanDirectorLoadModel", "inputs": {"model_name": "t2v.safetensors"}},
        "2": {"class_type": "WanDirectorLoadVAE", "inputs": {"vae_name": "vae.safetensors"}},
        "3": {"class_type": "WanDirectorLoadTextEncoder", "inputs": {"text_encoder_name": "text.safetensors"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["3", 0], "text": "a red ball"}},
        "5": {
            "class_type": "WanDirectorEmptyLatent",
            "inputs": {"vae": ["2", 0], "width": 64, "height": 96, "frames": 9, "batch_size": 1},
        },
        "6": {
            "class_type": "WanDirectorSampler",
            "inputs": {"model": ["1", 0], "positive": ["4", 0], "negative": ["4", 0], "latent": ["5", 0], "cfg": 3.0},
        },
        "7": {"class_type": "VAEDecode", "inputs": {"vae": ["2", 0], "samples": ["6", 0]}},
        "8": {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}},
    }


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp8_scaled", "fp8_e4m3fn"])
def test_the_header_tells_what_the_loaded_model_takes(precision, models):
    """To the bytes that align tensors within a slab, of which there are fewer than 256 for each."""
    path = models / "diffusion_models" / "vace.safetensors"
    checkpoint = open_checkpoint(path)
    told = model_bytes(checkpoint, inspect_checkpoint(checkpoint), precision, "cpu")
    loaded = load(kinds.DIT, path, precision=precision, device="cpu")
    found = bytes_of(loaded.module, loaded.dtype)
    assert (told.itemsize, told.unpacking) == (found.itemsize, found.unpacking)
    assert told.total == sum(entry.size_bytes for entry in held_tensors(loaded.module))
    assert len(told.blocks) == len(found.blocks) == 4
    for block, size, aligned in zip(loaded.module.streamed_blocks, told.blocks, found.blocks):
        assert size == sum(entry.size_bytes for entry in held_tensors(block))
        assert 0 <= aligned - size < 256 * len(held_tensors(block))
