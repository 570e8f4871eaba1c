"""Decoding straight into a file gives the file of decode and save, and leaves nothing when it is stopped."""

from __future__ import annotations

import pytest
import torch
import wan_director
from wan_director.common.errors import InvalidInputError, PairingError
from wan_director.common.shapes import VideoShape
from wan_director.engine import vae as engine_vae
from wan_director.engine.local import Interrupted
from wan_director.engine.tasks import bytes_of, decoding_task
from wan_director.memory.budget import GB

from .conftest import load_vae

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = pytest.mark.usefixtures("inference")
FILE = {"fps": 8.0, "filename_prefix": "clips/test", "format": "png frames", "quality": 80}


@pytest.fixture
def vae():
    return load_vae("vae.safetensors")


def latent(batch: int = 1, frames: int = 3) -> dict:
    return {"samples": torch.randn(batch, 16, frames, 2, 3, generator=torch.Generator().manual_seed(4))}


def files_in(host) -> list:
    return sorted(path.relative_to(host.output) for path in host.output.rglob("*") if path.is_file())


@pytest.mark.parametrize("format", ["png frames", "mp4-h264"])
def test_the_file_is_that_of_decode_and_save(vae, tiny_host, format):
    node = NODES["WanDirectorDecodeToVideo"]
    shown = node.execute(vae=vae, latent=latent(2), **{**FILE, "format": format}).ui.as_dict()
    frames = NODES["WanDirectorDecode"].execute(vae=vae, latent=latent(2)).args[0]
    again = NODES["WanDirectorSaveVideo"].execute(images=frames, **{**FILE, "format": format}).ui.as_dict()
    assert shown.keys() == again.keys()
    files = files_in(tiny_host)
    ours, theirs = files[: len(files) // 2], files[len(files) // 2 :]
    assert len(ours) == len(theirs) == (18 if format == "png frames" else 1)
    for one, other in zip(ours, theirs, strict=True):
        assert (tiny_host.output / one).read_bytes() == (tiny_host.output / other).read_bytes()


def test_frames_are_written_before_the_next_are_decoded(vae, monkeypatch):
    """No frame waits: when a latent frame begins, all frames before it have reached the encoder."""
    from wan_director.media import video_writing as video_file

    events = []
    decode_stream = engine_vae._decode_stream

    def watched(*arguments):
        for piece in decode_stream(*arguments):
            events.extend(["made"] * piece.shape[1])
            yield piece

    to_bytes = video_file.to_bytes
    monkeypatch.setattr(engine_vae, "_decode_stream", watched)
    monkeypatch.setattr(video_file, "to_bytes", lambda frame: events.append("written") or to_bytes(frame))
    NODES["WanDirectorDecodeToVideo"].execute(vae=vae, latent=latent(frames=4), **{**FILE, "format": "mp4-h264"})
    assert events == ["made", "written"] + (["made"] * 4 + ["written"] * 4) * 3


@pytest.mark.parametrize("format", ["png frames", "mp4-h264"])
@pytest.mark.parametrize("at_call", [1, 30, 60])
def test_cancel_leaves_no_file_and_a_model_that_works(vae, tiny_host, monkeypatch, format, at_call):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == at_call:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(tiny_host.runtime, "check_interrupt", check)
        with pytest.raises(Interrupted):
            NODES["WanDirectorDecodeToVideo"].execute(vae=vae, latent=latent(), **{**FILE, "format": format})
    assert len(calls) == at_call
    assert files_in(tiny_host) == []
    assert vae.decode(latent()["samples"]).isfinite().all()


def test_wrong_latents_and_foreign_vaes_are_refused(vae):
    node = NODES["WanDirectorDecodeToVideo"]
    with pytest.raises(PairingError, match="48 channels"):
        node.execute(vae=vae, latent={"samples": torch.zeros(1, 48, 1, 2, 2)}, **FILE)

    class Foreign:
        latent_channels = 16

    with pytest.raises(
        InvalidInputError, match="one that decodes, got an object of the type Foreign. Connect Load Wan"
    ):
        node.execute(vae=Foreign(), latent=latent(), **FILE)


def test_a_foreign_vae_decodes_by_itself(vae, tiny_host, caplog):
    """As any that has ComfyUI's calls; its frames are all there before the first is written, which the log says."""

    class ForeignVAE:
        latent_channels, latent_dim = 16, 3
        spacial_compression_decode = vae.spacial_compression_decode
        decode = vae.decode

    caplog.set_level("INFO", logger="wan_director")
    for each in (vae, ForeignVAE()):
        NODES["WanDirectorDecodeToVideo"].execute(vae=each, latent=latent(), **FILE)
    ours, theirs = files_in(tiny_host)[:9], files_in(tiny_host)[9:]
    assert len(theirs) == 9 and "loaded by another node" in caplog.text
    for one, other in zip(ours, theirs, strict=True):
        assert (tiny_host.output / one).read_bytes() == (tiny_host.output / other).read_bytes()


def test_the_workflow_is_in_the_file(vae, tiny_host):
    from PIL import Image
    from wan_director.nodes.standin import HiddenHolder

    node = type("Node", (NODES["WanDirectorDecodeToVideo"],), {})
    node.hidden = HiddenHolder(unique_id="1", prompt={"1": "p"}, extra_pnginfo={"workflow": {"nodes": []}})
    node.execute(vae=vae, latent=latent(frames=1), **FILE)
    (file,) = files_in(tiny_host)
    assert Image.open(tiny_host.output / file).text == {"prompt": '{"1": "p"}', "workflow": '{"nodes": []}'}


def test_strips_are_chosen_by_the_free_memory(vae, tiny_host, monkeypatch):
    """On a device with so many bytes that could be free; 1 GB of them is left alone."""
    video, weights = VideoShape(81, 480, 832), bytes_of(vae.residence.module, vae.dtype)
    ways = decoding_task(weights, vae.spec.config, video).ways
    needed = {way.number: GB + weights.total + way.working_bytes for way in ways}
    monkeypatch.setattr(vae.residence, "device", torch.device("meta"))
    # The network is so narrow that waiting frames weigh most: not every number of strips saves memory.
    fewest = next(strips for strips in needed if strips > 1 and needed[strips] < needed[1])
    thriftiest = min(filter(None, needed), key=needed.get)
    assert needed[thriftiest] < needed[fewest] < needed[1]
    cases = ((needed[1], 1), (needed[1] - 1, fewest), (needed[fewest], fewest), (needed[thriftiest], thriftiest))
    for available, strips in (*cases, (1000, 0)):
        monkeypatch.setattr(tiny_host.runtime, "available_bytes", lambda _device, bytes_=available: bytes_)
        job = engine_vae._job("decode", vae.placed, vae.memory, video, decoding_task)
        with engine_vae.at_work(vae.placed, job) as (_, found):
            assert found == strips
