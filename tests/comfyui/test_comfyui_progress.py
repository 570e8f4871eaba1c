"""Words on the running node, and the stop button at every stage: what was cancelled leaves nothing, and runs again."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.dit.config import DiTConfig
from wan_director.dit.model import WanDiT
from wan_director.text_encoder.umt5 import UMT5Config, UMT5Encoder
from wan_director.vae3d.config import VAEConfig
from wan_director.vae3d.vae import CausalVAE

from .conftest import ComfyServer, byte_tokenizer, node, save_model

STAGES = ("loading", "sampling", "decoding", "saving")
LISTENER = """
import asyncio, json, struct, sys
import aiohttp

async def listen(url, client):
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId={client}") as socket:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                kind, length = struct.unpack(">II", message.data[:8])
                if kind == 3:
                    words = message.data[8 + length :].decode()
                    print(json.dumps(["words", message.data[8 : 8 + length].decode(), words]), flush=True)
                continue
            told = json.loads(message.data)
            print(json.dumps([told["type"], told["data"].get("node"), told["data"].get("value")]), flush=True)

asyncio.run(listen(*sys.argv[1:]))
"""


class Canvas:
    """What a browser hears of the runs that it started."""

    def __init__(self, server: ComfyServer, heard: Iterator[str], client: str) -> None:
        self._server, self._heard, self._client = server, heard, client

    def start(self, prompt: dict[str, Any]) -> str:
        data = json.dumps({"prompt": prompt, "client_id": self._client}).encode()
        request = urllib.request.Request(self._server.url + "/prompt", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read())["prompt_id"]

    def hear(self) -> Iterator[tuple[str, str, Any]]:
        for line in self._heard:
            kind, where, what = json.loads(line)
            yield kind, where, what
            if kind in ("execution_success", "execution_interrupted", "execution_error"):
                return

    def stop(self) -> None:
        urllib.request.urlopen(urllib.request.Request(self._server.url + "/interrupt", b""), timeout=60).close()


@contextmanager
def canvas_of(server: ComfyServer) -> Iterator[Canvas]:
    client = uuid.uuid4().hex
    listener = subprocess.Popen([server.python, "-c", LISTENER, server.url, client], stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    try:
        heard = iter(listener.stdout)
        assert json.loads(next(heard))[0] == "status"  # it is connected
        yield Canvas(server, heard, client)
    finally:
        listener.kill()
        listener.wait()
        listener.stdout.close()


@pytest.fixture(scope="module")
def slow(comfyui: ComfyServer) -> ComfyServer:
    """The server, with models of random weights that are large enough to take seconds for everything."""
    models = comfyui.folder / "models"
    config = DiTConfig(dim=1536, ffn_dim=8960, heads=12, layers=6, text_dim=4096, freq_dim=256)
    save_model(models / "diffusion_models" / "slow.safetensors", small_numbers(WanDiT, config), {})
    for name in ("whole", *STAGES):  # under a name of its own, so that neither ComfyUI nor we have it in memory
        (models / "diffusion_models" / f"slow_{name}.safetensors").symlink_to("slow.safetensors")
    save_model(models / "vae" / "slow_vae.safetensors", small_numbers(CausalVAE, VAEConfig(base_channels=48)), {})
    text = small_numbers(UMT5Encoder, UMT5Config(vocab=259, dim=4096, attention_dim=64, ffn_dim=64, heads=2, layers=2))
    save_model(models / "text_encoders" / "slow_text.safetensors", text, {}, tokenizer_json=byte_tokenizer())
    noise = np.random.default_rng(0).integers(0, 256, (384, 640, 3), np.uint8)
    Image.fromarray(noise).save(comfyui.folder / "input" / "noise.png")
    return comfyui


def small_numbers(make: Any, config: Any) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        module = make(config)
    module = module.to_empty(device="cpu").bfloat16()
    for name, value in module.state_dict().items():
        value.normal_(generator=generator).mul_(0.02).add_(float("norm" in name or "gamma" in name))
    return module


def video(prefix: str) -> dict[str, Any]:
    files = {"filename_prefix": prefix, "quality": 80, "fps": 16}
    return {
        "text": node(
            "WanDirectorLoadTextEncoder", text_encoder_name="slow_text.safetensors", precision="fp32", device="cpu"
        ),
        "prompts": node("WanDirectorTextEncode", text_encoder=["text", 0], positive="a cat", negative="blurry"),
        "vae": node("WanDirectorLoadVAE", vae_name="slow_vae.safetensors", precision="fp32"),
        "loading": node(
            "WanDirectorLoadModel", model_name=f"slow_{prefix}.safetensors", precision="fp32", attention="auto"
        ),
        "size": node(
            "WanDirectorEmptyLatent", vae=["vae", 0], width=160, height=96, frames=9, batch_size=1
        ),
        "sampling": node(
            "WanDirectorSampler", model=["loading", 0], positive=["prompts", 0], negative=["prompts", 1],
            latent=["size", 0], seed=1, steps=2, cfg=1.0, solver="euler", schedule="simple", shift=5.0, denoise=1.0,
        ),
        "decoding": node("WanDirectorDecode", vae=["vae", 0], latent=["sampling", 0]),
        "saved": node("WanDirectorSaveVideo", images=["decoding", 0], format="png frames", **files),
        "picture": node("LoadImage", image="noise.png"),
        "many": node("RepeatImageBatch", image=["picture", 0], amount=150),
        "saving": node("WanDirectorSaveVideo", images=["many", 0], format="webm-vp9", **files),
    }  # fmt: skip


def only(prompt: dict[str, Any], stage: str) -> dict[str, Any]:
    """The part of the prompt that a stage belongs to."""
    second = {"picture", "many", "saving"}
    return {name: each for name, each in prompt.items() if (name in second) == (stage == "saving")}


def results(server: ComfyServer, prefix: str) -> dict[str, bytes]:
    """What a run has saved, without the number in its name: pixels of pictures, and the bytes of a video's packets."""
    import imageio_ffmpeg

    found = {}
    for file in sorted((server.folder / "output").rglob(f"{prefix}*/*.png")):
        found[file.name] = Image.open(file).tobytes()
    for file in sorted((server.folder / "output").glob(f"{prefix}*.webm")):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(file), "-f", "framemd5", "-"]
        found["video"] = subprocess.run(command, capture_output=True, check=True).stdout
    return found


def files_of(server: ComfyServer) -> list[Path]:
    return sorted(file for file in (server.folder / "output").rglob("*") if file.is_file())


class Whole(NamedTuple):
    """What was heard of an undisturbed run, and what it has saved."""

    told: list[tuple[str, str, Any]]
    saved: dict[str, bytes]


@pytest.fixture(scope="module")
def whole(slow: ComfyServer) -> Whole:
    with canvas_of(slow) as canvas:
        canvas.start(video("whole"))
        told = list(canvas.hear())
    assert told[-1][0] == "execution_success"
    return Whole(told, results(slow, "whole"))


def test_words_are_shown_on_the_running_node(whole):
    sampling, decoding = (
        [what for kind, at, what in whole.told if (kind, at) == ("words", where)] for where in ("sampling", "decoding")
    )
    assert sampling[0].startswith("Sampling: step 1 of 2, block ")
    assert sampling[-1].startswith("Sampling: 2 steps in ") and sampling[-1].endswith(" s/step")
    assert decoding[-1].startswith("Decoding: 3 latent frames in ")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_cancelled_in_any_stage_and_then_makes_the_same(slow, whole, stage):
    before = files_of(slow)
    with canvas_of(slow) as canvas:
        cancelled = canvas.start(only(video(stage), stage))
        assert stop_in(canvas, stage) == "execution_interrupted"
        kinds = [kind for kind, _ in slow.wait_for(cancelled)["status"]["messages"]]
        assert "execution_interrupted" in kinds and "execution_error" not in kinds
        assert files_of(slow) == before
        canvas.start(only(video(stage), stage))
        assert list(canvas.hear())[-1][0] == "execution_success"
    made = results(slow, stage)
    assert made and made.items() <= whole.saved.items()


def stop_in(canvas: Canvas, stage: str) -> str:
    """Presses stop at the first sign of a stage's progress; how the run ended."""
    last = ("", "", None)
    is_stopped = False
    for last in canvas.hear():
        if not is_stopped and last[:2] == ("progress", stage):
            canvas.stop()
            is_stopped = True
    assert is_stopped
    return last[0]
