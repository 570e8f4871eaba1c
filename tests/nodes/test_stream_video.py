"""Wan Stream Video: the file of sampling, decoding and saving, written chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
import wan_director
from safetensors.torch import load_file
from wan_director.common.errors import OutputError, WanDirectorError
from wan_director.engine.causal import streaming
from wan_director.engine.resuming.folder import StateFolder
from wan_director.engine.resuming.kept import RunsInFolder
from wan_director.memory.budget import GB
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.planning.plan import machine, plan_graph

from .conftest import call, encode, load, load_vae, picture

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
SIZE = {"width": 64, "height": 48, "frames": 13, "batch_size": 1}
RUN = {"seed": 5, "steps": 2, "cfg": 1.0, "shift": 5.0, "solver": "lcm", "schedule": "simple"}
FILE = {"fps": 8.0, "filename_prefix": "clips/test", "format": "png frames", "quality": 80}


@pytest.fixture
def inputs(tiny_host):
    positive, negative = encode("text.safetensors")
    vae = load_vae("vae.safetensors")
    model = call("Causal", model=load("t2v.safetensors"), chunk_frames=2, window_frames=3, sink_frames=1)
    latent = call("EmptyLatent", vae=vae, **SIZE)
    return {"model": model, "positive": positive, "negative": negative, "vae": vae, "latent": latent}


def streamed(inputs, **changes):
    return NODES["WanDirectorStreamVideo"].execute(**{**inputs, **RUN, **FILE, **changes})


def files_in(host) -> list:
    return sorted(path for path in host.output.rglob("*") if path.is_file())


@pytest.mark.parametrize("start", [False, True])
def test_the_file_and_the_latent_are_those_of_the_nodes_one_after_the_other(inputs, tiny_host, start):
    if start:
        inputs["latent"] = call("CausalStart", vae=inputs["vae"], start_image=picture(), fit="crop", **SIZE)
    (latent,) = streamed(inputs).args
    sampled = call("Sampler", **{name: value for name, value in inputs.items() if name != "vae"}, denoise=1.0, **RUN)
    assert torch.equal(latent["samples"], sampled["samples"])
    NODES["WanDirectorDecodeToVideo"].execute(vae=inputs["vae"], latent=sampled, **FILE)
    files = files_in(tiny_host)
    assert len(files) == 26
    for ours, theirs in zip(files[:13], files[13:]):
        assert ours.read_bytes() == theirs.read_bytes()


def test_frames_of_a_chunk_are_written_before_the_next_is_made(inputs, monkeypatch):
    events, decoded = [], streaming.as_pictures
    hook = inputs["model"].residence.module.head.register_forward_hook(lambda *_call: events.append("step"))
    monkeypatch.setattr(streaming, "as_pictures", lambda piece: events.append("frames") or decoded(piece))
    streamed(inputs)
    hook.remove()
    assert events == ["step", "step", "frames", "frames"] * 2


def test_a_model_that_makes_all_frames_at_once_is_decoded_afterwards(inputs, tiny_host):
    inputs["model"] = load("t2v.safetensors")
    (latent,) = streamed(inputs).args
    assert latent["samples"].any() and len(files_in(tiny_host)) == 13


class Stopped(Exception):  # noqa: N818
    """As ComfyUI's stop button raises something."""


def test_a_broken_off_video_goes_on_where_it_stood(inputs, tiny_host, tmp_path, monkeypatch):
    expected = streamed(inputs).args[0]["samples"]
    for file in files_in(tiny_host):
        file.unlink()
    runs = RunsInFolder(StateFolder(tmp_path / "runs"), every_s=0.0, clock=lambda: 0.0)
    monkeypatch.setattr(tiny_host.runtime, "kept_runs", runs)
    calls = []

    def stop(*_call: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise Stopped

    head = inputs["model"].residence.module.head
    hook = head.register_forward_hook(stop)
    with pytest.raises(Stopped):
        streamed(inputs)
    hook.remove()
    assert files_in(tiny_host) == []
    steps = []
    hook = head.register_forward_hook(lambda *_call: steps.append(1))
    (latent,) = streamed(inputs).args
    hook.remove()
    assert torch.equal(latent["samples"], expected) and len(steps) == 1
    assert len(files_in(tiny_host)) == 13


def test_what_is_finished_is_kept_when_the_file_cannot_be_written(inputs, tiny_host, monkeypatch):
    inputs["latent"] = call("EmptyLatent", vae=inputs["vae"], **SIZE)

    def full(frames: Iterator, *_arguments: object, **_named: object) -> object:
        list(islice(frames, 2))
        raise OutputError("The disk is full.")

    monkeypatch.setattr("wan_director.nodes.saving.result.save_video", full)
    with pytest.raises(OutputError, match="The disk is full.*Load Latent"):
        streamed(inputs)
    (kept,) = files_in(tiny_host)
    assert load_file(kept)["latent_tensor"].shape == (1, 16, 2, 6, 8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent": {"samples": torch.zeros(2, 16, 3, 6, 8)}}, "one at a time, and the latent has 2"),
        ({"vae": object()}, "vae must be the VAE of Load Wan VAE"),
        ({"format": "mp5"}, "mp5"),
    ],
)
def test_what_cannot_be_streamed_is_refused(inputs, changes, words):
    with pytest.raises(WanDirectorError, match=words):
        streamed(inputs, **changes)


def graph() -> dict:
    def node(name, **inputs):
        return {"class_type": f"WanDirector{name}", "inputs": inputs}

    return {
        "model": node("LoadModel", model_name="t2v.safetensors", precision="auto", attention="auto"),
        "causal": node("Causal", model=["model", 0], chunk_frames=1, window_frames=0, sink_frames=0),
        "text": node("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto"),
        "prompt": node("TextEncode", text_encoder=["text", 0], positive="a ball", negative=""),
        "vae": node("LoadVAE", vae_name="vae.safetensors", precision="auto"),
        "size": node("EmptyLatent", vae=["vae", 0], width=832, height=480, frames=81, batch_size=1),
        "stream": node(
            "StreamVideo", model=["causal", 0], positive=["prompt", 0], negative=["prompt", 1], vae=["vae", 0],
            latent=["size", 0], **RUN, **FILE,
        ),
    }  # fmt: skip


def test_a_plan_says_how_many_chunks_and_counts_what_is_remembered_and_the_decoder():
    classes = {**CORE_NODES, **NODES}

    def planned(**causal):
        changed = graph()
        changed["causal"]["inputs"] |= causal
        return plan_graph(parse_graph(changed, classes), machine(8 * GB), node_classes=classes).text

    assert "in 21 chunks of 1 latent frame, one after the other: 62 passes of the model in all" in planned()
    assert "in 7 chunks of 3 latent frames" in planned(chunk_frames=3)
