"""The wish to stop is heard within one block, layer, frame or run of bytes, and the next run makes the same."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import numpy as np
import pytest
import torch
import wan_director
from torch import nn
from wan_director.dit.block import Block
from wan_director.engine.local import Interrupted
from wan_director.engine.memory import MemoryWidgets
from wan_director.engine.previews.moving import MovingPicture
from wan_director.engine.progress import Counted
from wan_director.engine.terminal import UnseenProgress
from wan_director.media.encoder import Codec, Encoder
from wan_director.model_loading import meter
from wan_director.text_encoder.clip_vision import ClipVisionBlock
from wan_director.text_encoder.umt5 import UMT5Block

from .conftest import call, encode, load, load_vae, picture

NODES = wan_director.NODE_CLASS_MAPPINGS
SAMPLER = {
    "seed": 1, "steps": 2, "cfg": 4.0, "shift": 5.0, "solver": "euler", "schedule": "simple", "denoise": 1.0,
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("inference")


class Pressed:
    """Counts the runs of some modules, and wishes to stop in the one of a number."""

    def __init__(self, host, modules: list[nn.Module], at: int) -> None:
        self.runs, self._at, self._runtime = 0, at, host.runtime
        self._handles = [module.register_forward_hook(self._run) for module in modules]

    def _run(self, *_: object) -> None:
        self.runs += 1
        self._runtime.interrupted = self.runs >= self._at

    def release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._runtime.interrupted = False


def runs_until_stopped(host, module: nn.Module, kind: type, at: int, work) -> int:
    """How often modules of a kind run, when the wish to stop comes in the run of number `at`."""
    pressed = Pressed(host, [each for each in module.modules() if isinstance(each, kind)], at)
    try:
        with pytest.raises(Interrupted):
            work()
    finally:
        pressed.release()
    return pressed.runs


@pytest.mark.parametrize("at", [1, 2, 5, 8])
@pytest.mark.parametrize("swapped", [0, 2])
def test_sampling_stops_after_the_block_that_runs(tiny_host, at, swapped):
    prompts, model = encode("text.safetensors"), load("t2v.safetensors")
    latent = call("EmptyLatent", vae=load_vae("vae.safetensors"), width=64, height=48, frames=9, batch_size=1)
    memory = MemoryWidgets(mode="manual", blocks_to_swap=swapped).settings()

    def sample() -> torch.Tensor:
        made = call(
            "Sampler", model=model, positive=prompts[0], negative=prompts[1], latent=latent, memory=memory, **SAMPLER
        )
        return made["samples"]

    undisturbed = sample()
    module = model.residence.module
    assert runs_until_stopped(tiny_host, module, Block, at, sample) == at
    assert torch.equal(sample(), undisturbed)


def test_prompts_stop_after_the_layer_that_runs(tiny_host):
    encoder = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto")

    def embed(prompt: str) -> torch.Tensor:
        return call("TextEncode", text_encoder=encoder, positive=prompt, negative="bad")[0][0][0]

    module, prompts = encoder.residence.module, ("a (red:1.3) ball", "a (blue:1.3) ball")
    runs = [runs_until_stopped(tiny_host, module, UMT5Block, at, partial(embed, prompts[at - 1])) for at in (1, 2)]
    assert runs == [1, 2]
    after = [embed(prompt) for prompt in prompts]
    fresh = call("LoadTextEncoder", text_encoder_name="text.safetensors", precision="fp32", device="auto")
    again = [call("TextEncode", text_encoder=fresh, positive=each, negative="bad")[0][0][0] for each in prompts]
    assert all(map(torch.equal, after, again))


def test_pictures_stop_after_the_layer_that_runs(tiny_host):
    encoder = call("LoadClipVision", clip_vision_name="clip.safetensors")

    def embed() -> torch.Tensor:
        return call("ClipVisionEncode", clip_vision=encoder, image=picture(1)).penultimate_hidden_states

    undisturbed = embed()
    assert runs_until_stopped(tiny_host, encoder.residence.module, ClipVisionBlock, 1, embed) == 1
    assert torch.equal(embed(), undisturbed)


class Stopper:
    """A runtime's progress that wishes to stop when it is told of the second piece; keeps what it is told."""

    def __init__(self, runtime, unit: str) -> None:
        self.told: list[int] = []
        self._runtime, self._unit = runtime, unit

    def __call__(self, counted: Counted) -> UnseenProgress:
        return Telling(self) if counted.unit == self._unit else UnseenProgress()

    def tell(self, done: int) -> None:
        self.told.append(done)
        self._runtime.interrupted = len(self.told) == 2

    def release(self) -> None:
        self._runtime.interrupted = False


class Telling(UnseenProgress):
    def __init__(self, stopper: Stopper) -> None:
        self._stopper = stopper

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._stopper.tell(done)


@pytest.fixture
def stop_at_the_second(tiny_host, monkeypatch):
    """Of pieces of a unit."""

    def stop(unit: str) -> Stopper:
        stopper = Stopper(tiny_host.runtime, unit)
        monkeypatch.setattr(tiny_host.runtime, "progress", stopper)
        return stopper

    return stop


def test_encoding_frames_stops_with_the_one_under_way(stop_at_the_second):
    vae, stopper = load_vae("vae.safetensors"), stop_at_the_second("latent frame")
    with pytest.raises(Interrupted):
        call("Encode", vae=vae, images=picture(13))
    assert stopper.told == [1, 2]
    stopper.release()
    again, fresh = (
        call("Encode", vae=each, images=picture(13))["samples"] for each in (vae, load_vae("vae.safetensors"))
    )
    assert torch.equal(again, fresh)


def test_decoding_stops_with_the_frame_under_way(stop_at_the_second):
    vae, stopper = load_vae("vae.safetensors"), stop_at_the_second("latent frame")
    latent = {"samples": torch.randn(1, 16, 4, 2, 3)}
    with pytest.raises(Interrupted):
        call("Decode", vae=vae, latent=latent)
    assert stopper.told == [1, 2]
    stopper.release()
    again, fresh = (call("Decode", vae=each, latent=latent) for each in (vae, load_vae("vae.safetensors")))
    assert torch.equal(again, fresh)


def test_loading_stops_after_the_run_of_bytes_and_keeps_nothing(tiny_host, stop_at_the_second, monkeypatch):
    monkeypatch.setattr(meter, "RUN_BYTES", 1000)
    stopper = stop_at_the_second("byte")
    with pytest.raises(Interrupted):
        load("t2v.safetensors")
    assert len(stopper.told) == 2 and stopper.told[1] <= 2000
    assert list(tiny_host.runtime.models) == []
    stopper.release()
    assert all(weight.isfinite().all() for weight in load("t2v.safetensors").residence.host_tensors())


@pytest.mark.parametrize("format", ["png frames", "mp4-h264", "gif"])
def test_saving_stops_before_the_next_frame_and_leaves_nothing(tiny_host, stop_at_the_second, format):
    stopper = stop_at_the_second("frame")
    with pytest.raises(Interrupted):
        NODES["WanDirectorSaveVideo"].execute(
            images=picture(9), fps=8.0, filename_prefix="clip", format=format, quality=50
        )
    assert stopper.told == [1, 2]
    assert list(tiny_host.output.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a POSIX signal")
def test_an_encoder_that_does_not_end_is_not_waited_for(tmp_path):
    """The last frames of a large video take an encoder long; here it stands still."""
    encoder = Encoder(tmp_path / "x.mp4", (64, 64), 8.0, Codec("libx264", "yuv420p", ()), ())
    os.kill(encoder._process.pid, signal.SIGSTOP)
    encoder.write(np.zeros((64, 64, 3), np.uint8))
    asked = []

    def check() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        encoder.finish(check)
    encoder.stop()
    assert encoder._process.returncode == -signal.SIGKILL
