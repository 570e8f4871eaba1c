"""ComfyUI's own Wan templates run as they are shipped, on tiny weights under their files' names.

They are read from the package comfyui-workflow-templates-json where it is installed, of whatever version; only sizes
and lengths are made small.
"""

from __future__ import annotations

import importlib.util
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.common.errors import GraphError, MissingFileError
from wan_director.dit.branches.camera import CameraBranch
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.reference import ReferenceBranch
from wan_director.dit.branches.scail import ScailBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.engine.local import LocalRuntime
from wan_director.media.place import SavePlace
from wan_director.media.sound.reading import probe_sound
from wan_director.media.video_reading import read_video
from wan_director.media.video_writing import save_video
from wan_director.nodes import standin as io
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import Graph, read_graph
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.text_encoder.clip_vision import ClipVisionConfig, ClipVisionEncoder

from ..conftest import dit, save_model

PACKAGE = importlib.util.find_spec("comfyui_workflow_templates_json")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="comfyui-workflow-templates-json is not installed")

CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
TRANSFORMERS = {
    "wan2.2_i2v_high_noise_14B_fp8_scaled": "wan21_i2v", "wan2.2_i2v_low_noise_14B_fp8_scaled": "wan21_i2v",
    "wan2.2_t2v_high_noise_14B_fp8_scaled": "wan21_t2v", "wan2.2_t2v_low_noise_14B_fp8_scaled": "wan21_t2v",
    "wan2.2_fun_inpaint_high_noise_14B_fp8_scaled": "wan21_i2v",
    "wan2.2_fun_inpaint_low_noise_14B_fp8_scaled": "wan21_i2v",
    "wan2.2_ti2v_5B_fp16": "ti2v", "wan2.1_t2v_1.3B_fp16": "wan21_t2v",
    "wan2.1_i2v_480p_14B_fp16": "with_clip", "wan2.1_flf2v_720p_14B_fp16": "with_clip",
    "wan2.1_vace_14B_fp16": "wan21_vace", "wan2.1_vace_1.3B_fp16": "wan21_vace",
    "wan2.1_t2v_14B_fp8_scaled": "wan21_t2v",
    "wan2.2_fun_inpaint_5B_bf16": "fun_inp_5b", "wan2.2_fun_control_5B_bf16": "fun_control_5b",
    "wan2.1_fun_inp_1.3B_bf16": "with_clip",
    "wan2.1_fun_control_1.3B_bf16": "fun_control", "wan2.2_fun_control_high_noise_14B_fp8_scaled": "fun_control_a14b",
    "wan2.2_fun_control_low_noise_14B_fp8_scaled": "fun_control_a14b",
    "wan2.1_fun_camera_v1.1_1.3B_bf16": "fun_camera", "wan2.1_fun_camera_v1.1_14B_bf16": "fun_camera",
    "wan2.2_fun_camera_high_noise_14B_fp8_scaled": "fun_camera_a14b",
    "wan2.2_fun_camera_low_noise_14B_fp8_scaled": "fun_camera_a14b",
    "Wan2_1-I2V-ATI-14B_fp8_e4m3fn": "with_clip", "chrono_edit_14B_fp16": "with_clip",
    "Wan21-WanMove_fp8_scaled_e4m3fn_KJ": "with_clip",
    "wan_animate_2_distill_int8_convrot": "with_clip", "wan_animate_2_int8_convrot": "with_clip",
    "wan2.1_14B_SCAIL_2_fp16": "scail2", "wan2.1_14B_SCAIL_2_int8_convrot": "scail2",
    "wan2.2_bernini_r_high_noise_fp8_scaled": "wan21_t2v", "wan2.2_bernini_r_low_noise_fp8_scaled": "wan21_t2v",
    "causal_forcing-framewise": "wan21_t2v",
    "wan2.2_s2v_14B_fp8_scaled": "s2v", "humo_17B_fp8_e4m3fn": "humo",
    "Wan2_1-I2V-14B-480p_fp8_e4m3fn_scaled_KJ": "wan21_i2v",
    "wan2.2_dancer_14b_global_fp8_scaled": "dancer", "wan2.2_dancer_14b_local_fp8_scaled": "dancer",
}  # fmt: skip
OUTPUTS_48 = {"out_channels": 48}
FUN_MODELS = {
    "fun_inp_5b": {"in_channels": 100, **OUTPUTS_48},
    "fun_control_5b": {"in_channels": 148, **OUTPUTS_48, "branches": (ReferenceBranch(48),)},
    "fun_control": {"in_channels": 48, "branches": (ClipBranch(1280),)},
    "fun_control_a14b": {"in_channels": 52, "branches": (ReferenceBranch(16),)},
    "fun_camera": {"in_channels": 32, "branches": (ClipBranch(1280), CameraBranch())},
    "fun_camera_a14b": {"in_channels": 36, "branches": (CameraBranch(),)},
    "scail2": {"in_channels": 20, "branches": (ClipBranch(1280), ScailBranch(mask_channels=28))},
}
OTHERS = {
    "vae/wan_2.1_vae": "vae/wan21_vae", "vae/Wan2_1_VAE_bf16": "vae/wan21_vae", "vae/wan2.2_vae": "vae/wan22_vae",
    "vae/wan_alpha_2.1_vae_rgb_channel": "vae/wan21_vae", "vae/wan_alpha_2.1_vae_alpha_channel": "vae/wan21_vae",
    "text_encoders/umt5_xxl_fp8_e4m3fn_scaled": "text_encoders/wan21_text",
    "text_encoders/umt5_xxl_fp16": "text_encoders/wan21_text", "clip_vision/clip_vision_h": "clip_vision/wan21_clip",
    "audio_encoders/wav2vec2_large_english_fp16": "audio_encoders/speech",
    "audio_encoders/whisper_large_v3_fp16": "audio_encoders/whisper",
    "audio_encoders/wav2vec2-chinese-base_fp16": "audio_encoders/wav2vec2_base",
    "model_patches/wan2.1_infiniteTalk_multi_fp16": "model_patches/infinitetalk",
}  # fmt: skip
LORAS = [
    *(f"wan2.2_i2v_lightx2v_4steps_lora_v1_{part}_noise" for part in ("high", "low")),
    *(f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{part}_noise" for part in ("high", "low")),
    "chronoedit_distill_lora", "wan_alpha_2.1_rgba_lora", "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16",
    "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16",
    "wan2.1_SCAIL_2_DPO_lora_bf16", "Wan21_CausVid_14B_T2V_lora_rank32", "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32",
]  # fmt: skip
RUNNING = [
    "video_wan2_2_14B_i2v", "video_wan2_2_14B_flf2v", "video_wan2_2_14B_t2v", "video_wan2_2_5B_ti2v",
    "video_wan_vace_14B_v2v", "image_to_video_wan", "text_to_video_wan", "templates-6-key-frames",
    "video_wan_vace_outpainting", "video_wan_vace_14B_ref2v", "video_wan_vace_flf2v", "video_wan2_2_14B_fun_inpaint",
    "video_wan_vace_14B_t2v", "wan2.1_flf2v_720_f16", "video_wan2.1_alpha_t2v_14B",
    "video_wan2_2_5B_fun_inpaint", "video_wan2_2_14B_fun_control", "video_wan2_2_5B_fun_control", "wan2.1_fun_control",
    "video_wan2.1_fun_camera_v1.1_1.3B", "video_wan2.1_fun_camera_v1.1_14B", "video_wan2_2_14B_fun_camera",
    "wan2.1_fun_inp", "video_wan_ati", "image_chrono_edit_14B", "video_wanmove_480p",
    "video_bernini_r_video_editing", "video_bernini_r_image_editing", "video_causal_forcing_i2v",
    "video_wan_animate2_distilled", "video_wan2_2_14B_s2v", "video_humo", "video_wan_dancer",
]  # fmt: skip
RUNNING_APART = ("video_wan2_1_infinitetalk", "video_wan_animate2")
"""By tests of their own."""
REFUSED = {
    "video_wan21_scail2_character_replacement": "SAM3_VideoTrack .*; use masks made before, in Wan Coloured Masks",
    "video_wan_vace_inpainting": "SAM3_Detect",
}  # fmt: skip
"""Template -> a node that the command line does not know."""


def template(name: str) -> Path:
    path = Path(PACKAGE.origin).parent / "templates" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"the installed version of the package has no {name}")
    return path


@pytest.fixture(scope="module")
def official_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny models under the names of the published files."""
    models = shutil.copytree(models, tmp_path_factory.mktemp("official") / "models")
    folder = models / "diffusion_models"
    heads = {"wan_director.heads": "4"}
    with_clip = dit(text_dim=4096, in_channels=36, branches=(ClipBranch(1280),))
    save_model(folder / "with_clip.safetensors", with_clip, heads)
    save_model(folder / "wan21_vace.safetensors", dit(text_dim=4096, branches=(VaceBranch(2),)), heads)
    for name, changes in FUN_MODELS.items():
        save_model(folder / f"{name}.safetensors", dit(text_dim=4096, **changes), heads)
    save_clip_vision(models / "clip_vision" / "wan21_clip.safetensors")
    for name, tiny in TRANSFORMERS.items():
        shutil.copy(folder / f"{tiny}.safetensors", folder / f"{name}.safetensors")
    for name, tiny in OTHERS.items():
        shutil.copy(models / f"{tiny}.safetensors", models / f"{name}.safetensors")
    (models / "loras").mkdir(exist_ok=True)
    for name in LORAS:
        generator = torch.Generator().manual_seed(len(name))
        layer = "diffusion_model.blocks.0.self_attn.q.lora_"
        factors = {f"{layer}{part}.weight": shape for part, shape in (("down", (4, 48)), ("up", (48, 4)))}
        tensors = {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in factors.items()}
        save_file(tensors, models / "loras" / f"{name}.safetensors")
    return models


@pytest.fixture
def official_host(official_models: Path, tmp_path: Path) -> HeadlessHost:
    """A host on those models; the host of the process for the test."""
    host = HeadlessHost(models_in(official_models), (tmp_path,), tmp_path / "output", LocalRuntime("cpu"))
    use_host(host)
    return host


def save_clip_vision(path: Path) -> None:
    config = ClipVisionConfig(image_size=56, dim=1280, heads=16, layers=2, mlp_dim=64, embed_dim=32)
    save_model(path, ClipVisionEncoder(config), {})


def small(graph: Graph) -> Graph:
    """Every size and length that is written down or wired made 64 x 64 x 5; of two blocks, one is skipped."""
    sizes = {"width": 64, "height": 64, "length": 5}
    changed = {}
    for id, node in graph.items():
        makes_video = "length" in node.inputs and "batch_index" not in node.inputs
        inputs = {name: sizes.get(name, value) if makes_video else value for name, value in node.inputs.items()}
        inputs |= {"double_layers": "1"} if node.class_type.startswith("SkipLayerGuidanceDiT") else {}
        inputs |= {"video_frames": 5} if node.class_type == "WanDancerEncodeAudio" else {}
        inputs |= {"left": 16, "right": 16, "top": 0, "bottom": 0} if node.class_type == "ImagePadForOutpaint" else {}
        changed[id] = replace(node, inputs=inputs)
    return changed


def save_inputs(graph: Graph, folder: Path, frames: int = 9) -> None:
    """A small file for each picture, video and sound that a graph loads."""
    pixels = torch.rand(frames, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    for node in graph.values():
        if node.class_type in ("LoadImage", "LoadImageMask"):
            Image.fromarray((pixels[0] * 255).to(torch.uint8).numpy()).save(folder / node.inputs["image"], "png")
        if node.class_type == "LoadVideo":
            (file,) = save_video(
                pixels, SavePlace(folder, "in", 1, ""), format="mp4-h264", fps=16, quality=80, metadata={}
            )
            file.rename(folder / node.inputs["file"])
        if node.class_type == "LoadAudio":
            with wave.open(str(folder / node.inputs["audio"]), "wb") as sound:
                sound.setparams((1, 2, 16000, 16000, "NONE", ""))
                sound.writeframes((np.sin(np.arange(16000) / 9) * 9000).astype("<i2").tobytes())


@pytest.mark.parametrize("name", RUNNING)
def test_an_official_template_runs_as_it_is_shipped(name, official_host, tmp_path):
    graph, workflow = read_graph(template(name), CLASSES)
    save_inputs(graph, tmp_path)
    shown = run_graph(small(graph), CLASSES, workflow)
    files = [
        official_host.output / each["subfolder"] / each["filename"] for one in shown for each in one.get("images", [])
    ]
    assert files
    for file in files:
        frames = read_video(file)[0] if file.suffix == ".mp4" else np.asarray(Image.open(file))
        assert float(frames.std()) > 0


def videos_of(name: str, host, folder: Path, sizes: dict[int, int], frames: int = 9) -> list[Path]:
    """Runs a template as it is shipped, but for whole numbers that stand in `sizes`; gives the videos that it saved."""
    graph, workflow = read_graph(template(name), CLASSES)
    save_inputs(graph, folder, frames)
    changed = {
        id: replace(node, inputs={key: sizes.get(value, value) if type(value) is int else value
                                  for key, value in node.inputs.items()})
        for id, node in graph.items()
    }  # fmt: skip
    return [
        host.output / each["subfolder"] / each["filename"]
        for one in run_graph(changed, CLASSES, workflow)
        for each in one.get("images", [])
    ]


def test_the_infinitetalk_template_runs_as_it_is_shipped(official_host, tmp_path):
    """Two chunks of 13 frames, the second of which begins with the last 9 of the first: both are saved whole,
    and nobody has painted masks."""
    files = videos_of("video_wan2_1_infinitetalk", official_host, tmp_path, {832: 64, 480: 64, 81: 13})
    lengths = sorted(len(read_video(file)[0]) for file in files)
    assert lengths == [13, 26] and all(probe_sound(file) is not None for file in files)


def test_the_template_of_animate_2_makes_its_parts_in_a_loop(official_host, tmp_path):
    """A clip of 13 frames in three parts of 5, of which the later ones begin with the last frame of the one before."""
    files = videos_of("video_wan_animate2", official_host, tmp_path, {482: 64, 854: 64, 81: 5}, frames=13)
    assert [len(read_video(file)[0]) for file in files] == [13, 13]


def test_a_template_needs_no_file_behind_a_switch_that_is_off(official_host, official_models, tmp_path):
    """As it is shipped: the LoRAs for 4 steps lie behind two switches that a node far away turns off."""
    folders = {kind: [path] for kind, (path, *_) in official_host.folders.items() if kind != "loras"}
    use_host(replace(official_host, folders=folders))
    graph, workflow = read_graph(template("video_wan2_2_14B_t2v"), CLASSES)
    (switch,) = [node for node in graph.values() if node.class_type == "PrimitiveBoolean"]
    assert switch.inputs["value"] is False
    assert run_graph(small(graph), CLASSES, workflow)
    switch.inputs["value"] = True
    with pytest.raises(MissingFileError, match="wan2.2_t2v_lightx2v_4steps_lora_v1.1_.* is missing"):
        run_graph(small(graph), CLASSES, workflow)


def test_the_task_of_the_template_stands_before_the_instruction(official_host, tmp_path):
    """Its sentence is chosen by a number from a list, by a pattern that is made of the number."""
    graph, workflow = read_graph(template("video_bernini_r_video_editing"), CLASSES)
    asked = []

    class Watched(CORE_NODES["CLIPTextEncode"]):
        @classmethod
        def execute(cls, **inputs):
            asked.append(inputs["text"])
            return super().execute(**inputs)

    save_inputs(graph, tmp_path)
    run_graph(small(graph), {**CLASSES, "CLIPTextEncode": Watched}, workflow)
    task = "You are a helpful assistant specialized in video editing on content propagation."
    assert {text.split(".")[0] + "." for text in asked if text.startswith("You")} == {task}
    assert any("Replace the gray studio backdrop" in text for text in asked)


class Detector(io.ComfyNode):
    """In place of the loader of SAM3, which the command line does not have: a text encoder for its word."""

    @classmethod
    def define_schema(cls):
        outputs = [io.Model.Output(), io.Clip.Output(), io.Vae.Output()]
        return io.Schema(
            node_id="CheckpointLoaderSimple", category="", inputs=[io.String.Input("ckpt_name")], outputs=outputs
        )

    @classmethod
    def execute(cls, ckpt_name):
        return io.NodeOutput(None, CORE_NODES["CLIPLoader"].execute("umt5_xxl_fp16.safetensors", "wan").args[0], None)


class Tracks(io.ComfyNode):
    """In place of SAM3_VideoTrack: somebody in the left half of each picture."""

    @classmethod
    def define_schema(cls):
        inputs = [io.Image.Input("images"), io.Model.Input("model"), io.Conditioning.Input("conditioning")]
        inputs += [io.Float.Input("detection_threshold"), io.Int.Input("max_objects"), io.Int.Input("detect_interval")]
        outputs = [io.Custom("SAM3_TRACK_DATA").Output()]
        return io.Schema(node_id="SAM3_VideoTrack", category="", inputs=inputs, outputs=outputs)

    @classmethod
    def execute(cls, images, **_rest):
        packed = torch.zeros(len(images), 1, 16, 4, dtype=torch.uint8)
        packed[..., :2] = 255
        return io.NodeOutput({"packed_masks": packed, "orig_size": tuple(images.shape[1:3]), "n_frames": len(images)})


@pytest.mark.parametrize("name", ["", "_int8"])
def test_the_scail_templates_run_with_masks_of_ones_own(name, official_host, tmp_path):
    """Two parts of 9 frames; only the nodes of SAM3 are others'."""
    classes = {**CLASSES, "CheckpointLoaderSimple": Detector, "SAM3_VideoTrack": Tracks}
    graph, workflow = read_graph(template(f"video_wan21_scail2_character_replacement{name}"), classes)
    save_inputs(graph, tmp_path, frames=13)
    of_parts = {81: 9, 896: 96, 512: 64}
    changed = {
        id: replace(
            node, inputs={key: of_parts.get(value, value) if type(value) is int else value
                          for key, value in node.inputs.items()}
        )
        for id, node in graph.items()
    }  # fmt: skip
    shown = run_graph(changed, classes, workflow)
    first, both = [
        read_video(official_host.output / each["subfolder"] / each["filename"])[0]
        for one in shown
        for each in one.get("images", [])
    ]
    assert (len(first), len(both)) == (9, 13) and float(both[9:].std()) > 0


@pytest.mark.parametrize("name", ["scail2_replacement", "scail2_two_parts"])
def test_our_own_scail_workflows_run(name, official_host, tmp_path):
    """In parts of 9 frames, the second of which begins with the last 5 of the first."""
    graph, workflow = read_graph(Path(__file__).parents[3] / "workflows" / f"{name}.json", CLASSES)
    save_inputs(graph, tmp_path)
    of_parts = {81: 9, 157: 13, 896: 96, 512: 64}
    changed = {
        id: replace(node, inputs={key: of_parts.get(value, value) for key, value in node.inputs.items()})
        for id, node in graph.items()
        if node.class_type != "WanDirectorLoadVideo"
    }
    long = {"driving_video.mp4": 0.8, "driving_mask.mp4": 0.2}
    for id, node in graph.items():
        if node.class_type == "WanDirectorLoadVideo":
            changed[id] = replace(node, inputs={**node.inputs, "frames": 13, "fps": 16.0, "width": 96, "height": 64})
            pixels = torch.full((13, 64, 96, 3), long[node.inputs["file"]])
            pixels[:, :, :48] = 1 - pixels[:, :, :48]
            place = SavePlace(tmp_path, "film", 1, "")
            (file,) = save_video(pixels, place, format="mp4-h264", fps=16, quality=80, metadata={})
            file.rename(tmp_path / node.inputs["file"])
    picture = Image.fromarray(np.full((64, 96, 4), 200, dtype=np.uint8))
    picture.save(tmp_path / "example.png")
    (shown,) = run_graph(changed, CLASSES, workflow)
    (video,) = [official_host.output / each["subfolder"] / each["filename"] for each in shown["images"]]
    frames = read_video(video)[0]
    assert len(frames) == (13 if name == "scail2_two_parts" else 9) and float(frames.std()) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_an_official_template_for_another_model_is_refused_by_its_nodes(name, tiny_host):
    with pytest.raises(GraphError, match=REFUSED[name]):
        read_graph(template(name), CLASSES)
