"""Running a graph: every check of ComfyUI's server, the order of nodes, results dropped when nobody needs them."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import torch
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import (
    GraphError,
    InvalidInputError,
    OutOfMemory,
    PairingError,
    WanDirectorError,
)
from wan_director.media.video_writing import save_video
from wan_director.nodes.api import io
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.ordering import order
from wan_director.nodes.headless.runner import run_graph

from .conftest import node

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


def check(prompt: dict):
    return check_graph(parse_graph(prompt, CLASSES), CLASSES)


def test_a_graph_runs_to_a_file(prompt, tiny_host):
    (shown,) = run_graph(parse_graph(prompt, CLASSES), CLASSES)
    assert shown["images"] == [{"filename": "test_00001_.mp4", "subfolder": "video", "type": "output"}]
    assert (tiny_host.output / "video" / "test_00001_.mp4").stat().st_size > 1000


def test_a_latent_goes_straight_to_the_same_file(prompt, tiny_host):
    save = prompt["8"]["inputs"]
    direct = {"vae": ["2", 0], "latent": ["6", 0], **{name: save[name] for name in save if name != "images"}}
    prompt["9"] = {"class_type": "WanDirectorDecodeToVideo", "inputs": {**direct, "filename_prefix": "video/direct"}}
    run_graph(parse_graph(prompt, CLASSES), CLASSES)
    one, other = (tiny_host.output / "video" / f"{name}_00001_.mp4" for name in ("test", "direct"))
    # The graph inside the file is the same too.
    assert one.read_bytes() == other.read_bytes()


def test_prompts_are_encoded_before_the_model_is_loaded(prompt):
    names = [node.class_type for node in order(parse_graph(prompt, CLASSES), CLASSES)]
    assert names.index("WanDirectorTextEncode") < names.index("WanDirectorLoadModel")
    assert names.index("WanDirectorLoadVAE") < names.index("WanDirectorEmptyLatent")
    assert names[-1] == "WanDirectorSaveVideo"


def test_nodes_that_lead_to_no_output_are_not_run(prompt, tiny_host):
    prompt["20"] = {"class_type": "WanDirectorLoadVAE", "inputs": {"vae_name": "nowhere", "precision": "auto"}}
    assert "20" not in check(prompt)


def test_missing_values_get_their_default(prompt, tiny_host):
    del prompt["6"]["inputs"]["denoise"], prompt["8"]["inputs"]["quality"]
    checked = check(prompt)
    assert checked["6"].inputs["denoise"] == 1.0 and checked["8"].inputs["quality"] == 80


def test_only_what_a_node_requires_is_said_to_be_missing(prompt, tiny_host, caplog):
    (model,) = (node for node in prompt.values() if node["class_type"] == "WanDirectorLoadModel")
    optional = CLASSES["WanDirectorLoadModel"].INPUT_TYPES()["optional"]
    for name in optional:
        model["inputs"].pop(name, None)
    del prompt["6"]["inputs"]["denoise"]
    with caplog.at_level(logging.INFO, "wan_director"):
        checked = check(prompt)
    (loader,) = (node for node in checked.values() if node.class_type == "WanDirectorLoadModel")
    assert {name: loader.inputs[name] for name in optional if name != "module"} == {
        "vace_module": "none", "residual": "auto", "speed_module": "none",
    }  # fmt: skip
    assert "module" not in loader.inputs  # a socket has no default
    assert [line for line in caplog.messages if "its default" in line] == [
        f"{checked['6'].label} has no 'denoise'; its default 1.0 is used."
    ]


def test_values_are_brought_to_their_type(prompt, tiny_host):
    prompt["6"]["inputs"] |= {"steps": "3", "cfg": 4}
    inputs = check(prompt)["6"].inputs
    assert inputs["steps"] == 3 and isinstance(inputs["cfg"], float)


@pytest.mark.parametrize(("value", "expected"), [("false", False), ("True", True), (1, True), (0.0, False)])
def test_a_truth_value_as_text_is_what_it_says(value, expected, tiny_host):
    prompt = {"1": node("PrimitiveBoolean", value=value), "2": node("PreviewAny", source=["1", 0])}
    assert check(prompt)["1"].inputs["value"] is expected


@pytest.mark.parametrize(
    ("id", "name"),
    [("1", "vace_module"), ("1", "model_name"), ("3", "precision"), ("4", "positive"), ("5", "width"), ("6", "steps"),
     ("6", "cfg"), ("8", "filename_prefix"), ("8", "format")],
)  # fmt: skip
def test_null_is_no_value(id, name, prompt, tiny_host):
    prompt[id]["inputs"][name] = None
    with pytest.raises(GraphError, match=rf"^{name} of .* \(node {id}\) is null, which is no value. Write one"):
        check(prompt)


WRONG = {
    "no output": ({"8": None}, "it has no output node"),
    "lost wire": ({"7": {"latent": ["66", 0]}}, r"WanDirectorDecode \(node 7\) has a wire from node 66"),
    "circle": ({"5": {"width": ["7", 0]}}, "the wires run in a circle"),
    "unknown input": ({"6": {"speed": 3}}, r"Sampler \(node 6\) has no input 'speed'. It has: model, positive"),
    "missing input": ({"6": {"model": None}}, "Sampler .* needs its input 'model', and nothing is connected"),
    "wrong slot": ({"7": {"latent": ["6", 3]}}, "takes output 3 of Sampler .* which has 1"),
    "wrong type": ({"7": {"latent": ["2", 0]}}, "takes LATENT at 'latent', but WanDirectorLoadVAE .* gives VAE there"),
    "value for a socket": ({"7": {"latent": 3}}, "takes LATENT at 'latent', which is no value to write down"),
    "no number": ({"6": {"steps": "many"}}, "steps of Sampler .* must be INT, got 'many'"),
    "cut number": ({"6": {"seed": 1.7}}, "seed of Sampler .* must be INT, got 1.7"),
    "object for a text": ({"4": {"positive": {"a": 1}}}, "positive of .* must be STRING, got {'a': 1}"),
    "infinite": ({"6": {"steps": float("inf")}}, "steps of Sampler .* must be INT, got inf"),
    "too small": ({"6": {"steps": 0}}, "steps of Sampler .* must be from 1 to 1000, got 0"),
    "not a number": ({"6": {"cfg": float("nan")}}, "cfg of Sampler .* must be from 0.0 to 100.0, got nan"),
    "too large": ({"8": {"fps": 1e9}}, "fps of Save .* must be from 0.1 to 240.0"),
    "no such choice": ({"6": {"solver": "magic"}}, "solver of Sampler .* cannot be 'magic'. Choose one of: unipc, "),
    "bad length": ({"5": {"frames": 80}}, r"Size \(node 5\): A clip has 1 \+ 4k frames, got 80. Use 77 or 81"),
    "bad size": ({"5": {"width": 100}}, "Size .*: The width must be a multiple of 16 pixels, got 100"),
    "missing file": ({"2": {"vae_name": "wan_2.1_vae.safetensors"}},
                     r"Get split_files/vae/wan_2.1_vae.safetensors from Comfy-Org/.* and put it into .*/vae"),
    "wrong kind": ({"1": {"model_name": "vae.safetensors"}}, "vae.safetensors is .* not a diffusion model"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_refused_before_anything_runs(case, prompt, tiny_host):
    changes, words = WRONG[case]
    folders = tiny_host.folders
    tiny_host.folders = {**folders, "diffusion_models": [*folders["diffusion_models"], *folders["vae"]]}
    for id, inputs in changes.items():
        if inputs is None:
            del prompt[id]
            continue
        prompt[id]["inputs"] = {k: v for k, v in {**prompt[id]["inputs"], **inputs}.items() if v is not None}
    with pytest.raises(WanDirectorError, match=words) as refusal:
        check(prompt)
    assert "\n" not in str(refusal.value)


def test_what_shows_only_in_the_run_names_its_node(prompt, tiny_host):
    prompt["3"]["inputs"]["text_encoder_name"] = "wan21_text.safetensors"
    with pytest.raises(PairingError, match=r"^Sampler \(node 6\): wan21_text.safetensors .* width 4096"):
        run_graph(parse_graph(prompt, CLASSES), CLASSES)
    prompt["6"]["inputs"]["sigmas"] = ["5", 0]
    with pytest.raises(GraphError, match="takes SIGMAS at 'sigmas'"):
        check(prompt)


@pytest.fixture
def unsampled(monkeypatch):
    """No sampling takes place."""

    def refuse(*_, **__):
        raise AssertionError("sampled")

    monkeypatch.setattr("wan_director.engine.sampling.beginning.begin", refuse)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("vae", ["wan21_vae.safetensors", "wan22_vae.safetensors"])
def test_the_vae_of_another_model_is_found_before_the_sampling(vae, direct, prompt, tiny_host, unsampled):
    prompt["9"] = node("WanDirectorLoadVAE", vae_name=vae, precision="auto")
    prompt["7"]["inputs"]["vae"] = ["9", 0]
    if direct:
        inputs = {name: value for name, value in prompt.pop("8")["inputs"].items() if name != "images"}
        prompt["7"] = node("WanDirectorDecodeToVideo", **prompt["7"]["inputs"], **inputs)
    with pytest.raises(PairingError, match=rf"\(node 7\): {vae} "):
        run_graph(parse_graph(prompt, CLASSES), CLASSES)


def test_a_video_of_one_model_may_be_changed_by_another(prompt, tiny_host):
    prompt["9"] = node("WanDirectorLoadVAE", vae_name="wan21_vae.safetensors", precision="auto")
    prompt["10"] = node("WanDirectorEncode", vae=["9", 0], images=["7", 0])
    prompt["11"] = node("WanDirectorDecode", vae=["9", 0], latent=["10", 0])
    prompt["8"]["inputs"]["images"] = ["11", 0]
    assert run_graph(parse_graph(prompt, CLASSES), CLASSES)


def test_a_wrong_formula_shows_before_the_sampling(prompt, tiny_host, unsampled):
    prompt["9"] = node("PrimitiveInt", value=0)
    prompt["10"] = node("ComfyMathExpression", expression="8/a", **{"values.a": ["9", 0]})
    prompt["8"]["inputs"]["fps"] = ["10", 0]
    with pytest.raises(InvalidInputError, match=r"\(node 10\): '8/a' divides by zero"):
        run_graph(parse_graph(prompt, CLASSES), CLASSES)


def test_what_a_switch_may_give_has_a_type(prompt, tiny_host):
    prompt["9"] = node("ComfySwitchNode", "Switch", switch=True, on_true=["7", 0], on_false=["7", 0])
    prompt["10"] = node("ComfySwitchNode", "Outer", switch=True, on_true=["9", 0], on_false=["9", 0])
    prompt["8"]["inputs"] |= {"images": ["10", 0], "fps": ["10", 0]}
    with pytest.raises(GraphError, match=r"takes FLOAT at 'fps', but Outer \(node 10\) gives IMAGE there"):
        check(prompt)
    prompt["8"]["inputs"]["fps"] = 8.0
    assert check(prompt)


class Weight:
    """Something large that should not stay."""


alive: list[weakref.ref] = []


class Source(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Source", outputs=[io.Image.Output()])

    @classmethod
    def execute(cls):
        weight = Weight()
        alive.append(weakref.ref(weight))
        return io.NodeOutput(weight)


class Sink(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Sink",
            inputs=[io.Image.Input("image"), io.Image.Input("after", optional=True)],
            outputs=[io.Image.Output()],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, after=None):
        gc.collect()
        alive.append(sum(reference() is not None for reference in alive if isinstance(reference, weakref.ref)))
        return io.NodeOutput(None)


def test_results_are_dropped_after_their_last_use():
    classes = {"Source": Source, "Sink": Sink}
    prompt = {
        "a": {"class_type": "Source", "inputs": {}},
        "b": {"class_type": "Sink", "inputs": {"image": ["a", 0]}},
        "c": {"class_type": "Source", "inputs": {}},
        "d": {"class_type": "Sink", "inputs": {"image": ["c", 0], "after": ["b", 0]}},
    }
    alive.clear()
    run_graph(parse_graph(prompt, classes), classes)
    assert [count for count in alive if isinstance(count, int)] == [1, 1]


@pytest.mark.parametrize("cause", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA"), None])
def test_too_little_memory_is_a_sentence(cause):
    class Greedy(Sink):
        @classmethod
        def execute(cls, image, after=None):
            if cause is not None:
                raise cause
            torch.empty(2**60, dtype=torch.uint8)

    classes = {"Source": Source, "Greedy": Greedy}
    prompt = {"a": {"class_type": "Source", "inputs": {}}, "b": {"class_type": "Greedy", "inputs": {"image": ["a", 0]}}}
    with pytest.raises(OutOfMemory, match=r"Greedy \(node b\) needs more memory than is free"):
        run_graph(parse_graph(prompt, classes), classes)


def test_load_image_reads_what_comfyui_reads(tmp_path, tiny_host):
    from PIL import Image

    load = CORE_NODES["LoadImage"]
    Image.new("RGBA", (5, 4), (255, 0, 51, 128)).save(tmp_path / "clear.png")
    pixels, mask = load.execute(image="clear.png").args
    assert pixels.shape == (1, 4, 5, 3) and pixels[0, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert mask.shape == (1, 4, 5) and mask[0, 0, 0].item() == pytest.approx(1 - 128 / 255)
    frames = [Image.new("RGB", (6, 4), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    pixels, mask = load.execute(image=str(tmp_path / "moving.png")).args
    assert pixels.shape == (3, 4, 6, 3) and mask.shape == (1, 64, 64)
    turned = Image.new("RGB", (6, 4))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert load.execute(image="turned.jpg").args[0].shape == (1, 6, 4, 3)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InvalidInputError, match="text.png cannot be read as a picture"):
        load.execute(image="text.png")
    assert "There is no picture file nowhere.png" in load.validate_inputs("nowhere.png")


def test_a_saved_video_is_loaded_as_it_was(tmp_path, tiny_host):
    place = tiny_host.save_place("clip", 32, 16)
    frames = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1).expand(5, 16, 32, 3)
    (file,) = save_video(frames, place, format="mp4-h264", fps=12.0, quality=100, metadata={})
    load, parts = CORE_NODES["LoadVideo"], CORE_NODES["GetVideoComponents"]
    (video,) = load.execute(file=str(file)).args
    loaded, sound, fps, bit_depth, color_space = parts.execute(video=video).args
    assert loaded.shape == frames.shape and (loaded - frames).abs().max() < 0.03
    assert fps == 12.0 and sound is None and (bit_depth, color_space) == (8, "sRGB")
    (tmp_path / "page.mp4").write_text("<html>")
    with pytest.raises(InvalidInputError, match="page.mp4 cannot be read as a video"):
        parts.execute(video=tmp_path / "page.mp4")
    assert load.validate_inputs(str(file)) is True
    assert "There is no video file nowhere.mp4" in load.validate_inputs("nowhere.mp4")
