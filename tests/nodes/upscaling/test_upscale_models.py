"""ComfyUI's two nodes for upscale models on the command line, with a stand-in for the package spandrel."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import wan_director
from wan_director.common.errors import CheckpointError, MissingFileError, MissingPackageError, OutOfMemory
from wan_director.common.shapes import VideoShape
from wan_director.engine.enlarging import in_tiles
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import host, use_host
from wan_director.nodes.planning.recording import record_run
from wan_director.nodes.planning.unknown import ASSUMPTIONS
from wan_director.nodes.upscaling.picture_model import UPSCALE_MODELS

from ..conftest import picture
from ..planning.directing import enlarged
from .test_upscale_video import Fourfold, upscaled

pytestmark = pytest.mark.usefixtures("inference")


class UnsupportedModelError(Exception):
    """Of spandrel: a file of which it knows no architecture."""


class ModelLoader:
    """Of spandrel."""

    def __init__(self, device: str) -> None:
        self.device = device

    def load_from_file(self, path):
        words = path.read_text()
        if words == "mask":
            made = Inpainting()
        elif words == "fourfold":
            made = Fourfold()
        else:
            raise UnsupportedModelError(words)
        return made


class Inpainting:
    purpose = "Inpainting"


def run(name: str, **inputs):
    (result,) = CORE_NODES[name].execute(**inputs).args
    return result


@pytest.fixture
def folder(models, tmp_path, tiny_host):
    """The folder of upscale models, on a host that knows it as the commands' does."""
    place = tmp_path / "more" / "upscale_models"
    place.mkdir(parents=True)
    for name in ("fourfold", "mask", "cat"):
        (place / f"{name}.pth").write_text(name)
    folders = {**tiny_host.folders, UPSCALE_MODELS: models_in(tmp_path / "more", (UPSCALE_MODELS,))[UPSCALE_MODELS]}
    use_host(HeadlessHost(folders=folders, inputs=(tmp_path,), output=tmp_path / "output", runtime=tiny_host.runtime))
    return place


@pytest.fixture
def spandrel(monkeypatch):
    module = ModuleType("spandrel")
    module.ModelLoader, module.ImageModelDescriptor = ModelLoader, Fourfold
    module.UnsupportedModelError = UnsupportedModelError
    monkeypatch.setitem(sys.modules, "spandrel", module)


def test_a_model_is_loaded_and_makes_pictures_and_clips_larger(folder, spandrel):
    model = run("UpscaleModelLoader", model_name="fourfold.pth")
    assert isinstance(model, Fourfold) and not model.training
    clip = picture(2)
    expected = [model(frame.movedim(-1, 0)[None]).clamp(0, 1)[0].movedim(0, -1) for frame in clip]
    found = run("ImageUpscaleWithModel", upscale_model=model, image=clip)
    assert found.shape == (2, 192, 256, 3)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-6)
    assert upscaled(upscale_model=model).shape == (1, 16, 2, 12, 16)


def test_large_pictures_are_made_in_tiles(folder, spandrel):
    model = run("UpscaleModelLoader", model_name="fourfold.pth")
    clip = picture(1, 40, 600)
    found = run("ImageUpscaleWithModel", upscale_model=model, image=clip)
    expected = in_tiles(model, clip.movedim(-1, 1), 4, 512, lambda: None).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_both_are_planned_without_the_package_and_the_network_counts_beside_the_vae(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    classes, graph = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}, enlarged()
    del graph["film"], graph["parts"], graph["matched"], graph["save"]["inputs"]["audio"]
    graph["save"]["inputs"]["images"] = ["decode", 0]
    clip = {"width": 64, "height": 48, "batch_size": 9, "color": 0}
    graph["clip"] = {"class_type": "EmptyImage", "inputs": clip}
    graph["network"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "fourfold.pth"}}
    graph["large"] = {
        "class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["network", 0], "image": ["clip", 0]},
    }  # fmt: skip
    sizes, bytes_needed = [], []
    for given in ({}, {"upscale_model": ["network", 0]}):
        graph["upscale"]["inputs"] |= {"images": ["large", 0], **given}
        made = record_run(parse_graph(graph, classes), classes, ASSUMPTIONS[0], host().runtime.device)
        assert not made.passed_over and not made.has_guessed
        (job,) = [noted.job for noted in made.stages if noted.job.kind == "encode"]
        sizes.append(job.video)
        bytes_needed.append(job.task.ways[0].working_bytes)
    assert sizes == [VideoShape(9, 384, 512)] * 2
    assert bytes_needed[1] - bytes_needed[0] == len("fourfold") + 3 * 4 * 512**2 * 4 * 384


def test_without_the_package_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingPackageError, match=r"package spandrel, which is not installed .*pip install spandrel"):
        run("UpscaleModelLoader", model_name="fourfold.pth")


def test_other_files_are_refused(folder, spandrel, monkeypatch):
    with pytest.raises(CheckpointError, match="cat.pth is no upscale model that spandrel can read .Unsupported"):
        run("UpscaleModelLoader", model_name="cat.pth")
    with pytest.raises(CheckpointError, match="mask.pth is a model for another task .Inpainting."):
        run("UpscaleModelLoader", model_name="mask.pth")
    with pytest.raises(MissingFileError, match="dog.pth"):
        run("UpscaleModelLoader", model_name="dog.pth")
    model = run("UpscaleModelLoader", model_name="fourfold.pth")
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="5 pictures of 256x192 take 0.0 GB of RAM"):
        run("ImageUpscaleWithModel", upscale_model=model, image=picture(5))
