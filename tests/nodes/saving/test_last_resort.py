"""What took long to make is kept somewhere when it could not be saved, and the message says where and how to go on."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import wan_director
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from wan_director.common.errors import (
    InvalidInputError,
    MissingFileError,
    MissingPackageError,
    OutputError,
    PairingError,
)
from wan_director.engine import vae as engine_vae
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import read_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.saving import rescue
from wan_director.nodes.standin import HiddenHolder

from ..conftest import load_vae, picture
from ..headless.conftest import prompt, write  # noqa: F401  (fixtures)

NODES = wan_director.NODE_CLASS_MAPPINGS
pytestmark = [
    pytest.mark.usefixtures("inference"),
    pytest.mark.skipif(sys.platform == "win32", reason="stands in for ffmpeg by shell scripts"),
]
FILE = {"fps": 8.0, "filename_prefix": "clips/test", "format": "mp4-h264", "quality": 80}


@pytest.fixture
def broken_encoder(tmp_path, monkeypatch) -> None:
    """Passes the check, and fails when it counts."""
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\ncat > /dev/null\ncase "$*" in *" null -") exit 0;; esac\necho broken >&2; exit 1')
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))


@pytest.fixture
def other_folders(tmp_path, monkeypatch) -> Path:
    """The folders for temporary files and of the user."""
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(Path, "home", lambda: folder / "home")
    return folder


def node(name: str) -> type:
    running = type("Node", (NODES[name],), {})
    running.hidden = HiddenHolder(unique_id="1", prompt={"1": "p"}, extra_pnginfo={"workflow": {"nodes": []}})
    return running


def latent() -> dict:
    return {"samples": torch.randn(1, 16, 3, 2, 3, generator=torch.Generator().manual_seed(4))}


def place_in(message: str, what: str) -> Path:
    return Path(re.search(rf"The {what} (?:is|are) kept in ([^:]+): ", message)[1])


def test_frames_are_kept_as_pictures_when_the_encoder_fails(broken_encoder, tiny_host):
    frames = picture(3)
    with pytest.raises(OutputError, match="encoder failed, .*: broken. .* any video editor and ffmpeg") as error:
        node("WanDirectorSaveVideo").execute(images=frames, **FILE)
    folder = place_in(str(error.value), "frames")
    assert folder == tiny_host.output / "kept" / "WanDirector_00001_"
    kept = np.stack([np.array(Image.open(file)) for file in sorted(folder.iterdir())])
    assert (kept == (frames.numpy() * 255).round()).all()
    assert json.loads(Image.open(folder / "00000.png").text["workflow"]) == {"nodes": []}
    assert list((tiny_host.output / "clips").iterdir()) == []


def test_a_latent_is_kept_as_native_load_latent_reads_it(broken_encoder, tiny_host):
    samples = latent()
    with pytest.raises(OutputError, match="load it with Load Latent and connect it to Wan Decode To Video") as error:
        node("WanDirectorDecodeToVideo").execute(vae=load_vae("vae.safetensors"), latent=samples, **FILE)
    file = place_in(str(error.value), "latent")
    assert file == tiny_host.output / "kept" / "WanDirector_00001_.latent"
    with safe_open(file, "pt") as kept:
        assert set(kept.keys()) == {"latent_tensor", "latent_format_version_0"}  # the second: no scaling to undo
        assert torch.equal(kept.get_tensor("latent_tensor"), samples["samples"])
        assert kept.metadata() == {"prompt": '{"1": "p"}', "workflow": '{"nodes": []}'}


def test_a_latent_for_another_vae_is_kept(tiny_host):
    samples = latent()
    with pytest.raises(
        PairingError, match="has 16 channels, this VAE decodes 48. .* load it with Load Latent"
    ) as error:
        node("WanDirectorDecodeToVideo").execute(vae=load_vae("wan22_vae.safetensors"), latent=samples, **FILE)
    with safe_open(place_in(str(error.value), "latent"), "pt") as kept:
        assert torch.equal(kept.get_tensor("latent_tensor"), samples["samples"])


@pytest.mark.parametrize("name", ["WanDirectorSaveVideo", "WanDirectorDecodeToVideo"])
def test_another_folder_is_taken_when_nothing_can_be_written_to_the_output(name, tiny_host, other_folders):
    tiny_host.output.write_text("in the way")
    what = {"images": picture(2)} if "Save" in name else {"vae": load_vae("vae.safetensors"), "latent": latent()}
    with pytest.raises(OutputError, match="output is no folder") as error:
        node(name).execute(**what, **FILE)
    kept = place_in(str(error.value), "frames" if "Save" in name else "latent")
    assert kept.exists() and kept.parent.parent == other_folders and kept.parent.name.startswith("wan_director-")


def test_a_place_that_is_only_known_late_loses_nothing(tiny_host):
    with pytest.raises(InvalidInputError, match="leads out of the output folder") as error:
        node("WanDirectorSaveVideo").execute(images=picture(2), **{**FILE, "filename_prefix": "../clip"})
    assert len(list(place_in(str(error.value), "frames").iterdir())) == 2


def test_a_place_that_did_not_work_either_is_left_as_it_was(tiny_host, other_folders):
    def full(place):
        place.folder.mkdir(parents=True, exist_ok=True)
        if place.folder == tiny_host.output / "kept":
            raise OutputError("full")
        return place.folder

    assert str(other_folders) in rescue._kept(full, "frames", "go on.")
    assert list(tiny_host.output.iterdir()) == []


def test_values_that_make_a_name_too_long_are_refused_before_frames_are_made(tiny_host, monkeypatch):
    vae = load_vae("vae.safetensors")
    monkeypatch.setattr(engine_vae, "_decode_stream", None)
    running = node("WanDirectorDecodeToVideo")
    running.hidden = HiddenHolder(prompt={"2": {"class_type": "Text", "inputs": {"text": "many words " * 20}}})
    with pytest.raises(InvalidInputError, match=r"a name of 320 bytes, .*The latent is kept in"):
        running.execute(vae=vae, latent=latent(), **{**FILE, "filename_prefix": "%Text.text%" * 4})
    assert {path.name for path in tiny_host.output.iterdir()} == {"kept"}


def test_nowhere_is_said_too(tiny_host, other_folders):
    tiny_host.output.write_text("in the way")
    (other_folders / "home").write_text("in the way")
    tempfile.tempdir = str(other_folders / "home")
    with pytest.raises(OutputError, match=r"The frames could not be kept anywhere else either \(.*kept, .*home"):
        node("WanDirectorSaveVideo").execute(images=picture(2), **FILE)


def test_a_latent_is_kept_when_decoding_takes_too_much_memory(tiny_host, monkeypatch, caplog):
    vae = load_vae("vae.safetensors")

    def full(*_):
        raise torch.OutOfMemoryError("out of memory")
        yield

    monkeypatch.setattr(type(vae), "decode_frames", full)
    with pytest.raises(torch.OutOfMemoryError):
        node("WanDirectorDecodeToVideo").execute(vae=vae, latent=latent(), **FILE)
    assert place_in(caplog.text, "latent").is_file()


def test_a_graph_with_an_encoder_that_does_not_work_runs_nothing(prompt, write, tiny_host, monkeypatch):  # noqa: F811
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    classes = {**CORE_NODES, **NODES}
    ran = []
    monkeypatch.setattr(NODES["WanDirectorLoadModel"], "execute", lambda **_: ran.append(True))
    graph, workflow = read_graph(write(prompt), classes)
    with pytest.raises(MissingPackageError, match=r"Save \(node 8\): The ffmpeg at /nowhere/ffmpeg"):
        run_graph(graph, classes, workflow)
    assert not ran and not tiny_host.output.exists()


def test_the_canvas_gets_a_gif_as_a_picture_and_videos_as_videos(tiny_host):
    """Front ends play what is called animated as a video, unless its name ends in webp or png."""
    show = NODES["WanDirectorSaveVideo"].execute
    shown = {kind: show(images=picture(3), **{**FILE, "format": kind}).ui.as_dict() for kind in ("gif", "webm-vp9")}
    assert shown["gif"] == {"images": [{"filename": "test_00001_.gif", "subfolder": "clips", "type": "output"}]}
    assert shown["webm-vp9"]["animated"] == (True,)


def test_the_latent_that_was_kept_is_decoded_from_the_command_line(broken_encoder, tiny_host, monkeypatch, tmp_path):
    samples = latent()
    with pytest.raises(OutputError) as error:
        node("WanDirectorDecodeToVideo").execute(vae=load_vae("vae.safetensors"), latent=samples, **FILE)
    kept = place_in(str(error.value), "latent")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    graph = {
        "1": {"class_type": "WanDirectorLoadVAE", "inputs": {"vae_name": "vae.safetensors", "precision": "auto"}},
        "2": {"class_type": "LoadLatent", "inputs": {"latent": str(kept)}},
        "3": {"class_type": "WanDirectorDecodeToVideo", "inputs": {"vae": ["1", 0], "latent": ["2", 0], **FILE}},
    }
    (tmp_path / "again.json").write_text(json.dumps(graph))
    classes = {**CORE_NODES, **NODES}
    (shown,) = run_graph(*read_graph(tmp_path / "again.json", classes)[:1], classes)
    again = tiny_host.output / shown["images"][0]["subfolder"] / shown["images"][0]["filename"]
    direct = NODES["WanDirectorDecodeToVideo"].execute(vae=load_vae("vae.safetensors"), latent=samples, **FILE)
    name = direct.ui.as_dict()["images"][0]["filename"]
    assert frames_of(again) == frames_of(tiny_host.output / "clips" / name)


def frames_of(file: Path) -> list[bytes]:
    import imageio_ffmpeg

    return list(imageio_ffmpeg.read_frames(str(file)))[1:]


def test_load_latent_says_what_is_wrong(tiny_host, tmp_path):
    load = CORE_NODES["LoadLatent"]
    assert "There is no latent file nowhere.latent. Give a path" in load.validate_inputs("nowhere.latent")
    with pytest.raises(MissingFileError, match="Check the name"):
        load.execute("nowhere.latent")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.latent")
    (tmp_path / "text.latent").write_text("no latent")
    for name in ("other.latent", "text.latent"):
        with pytest.raises(InvalidInputError, match=f"{name} cannot be read as a latent. Use a file that Save Latent"):
            load.execute(name)
    save_file({"latent_tensor": torch.ones(1)}, tmp_path / "old.latent")
    assert load.execute("old.latent").args[0]["samples"].item() == pytest.approx(1 / 0.18215)
