"""The example workflows: complete, true to the official settings, and running with the bundled model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.common.log import logger
from wan_director.model_loading.publishing.known_files import known_file
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import Link, parse_graph
from wan_director.nodes.headless.runner import as_prompt
from wan_director.nodes.headless.widgets import widget_names
from wan_director.nodes.text import OFFICIAL_NEGATIVE

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BUNDLED = [path for path in WORKFLOWS if path.stem.startswith("tiny_")]
DOWNLOADED = [path for path in WORKFLOWS if path not in BUNDLED]
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}
LOADER_WIDGETS = {
    "WanDirectorLoadModel": ("model_name", "diffusion_models"),
    "UNETLoader": ("unet_name", "diffusion_models"),
    "WanDirectorLoadVAE": ("vae_name", "vae"),
    "WanDirectorLoadTextEncoder": ("text_encoder_name", "text_encoders"),
    "WanDirectorLoadClipVision": ("clip_vision_name", "clip_vision"),
    "WanDirectorLoadAudioEncoder": ("audio_encoder_name", "audio_encoders"),
    "WanDirectorLora": ("lora_name", "loras"),
    "WanDirectorLoadUni3C": ("uni3c_name", "model_patches"),
    "WanDirectorLoadInfiniteTalk": ("infinitetalk_name", "model_patches"),
}

# Sources: Wan-Video/Wan2.1 README, generate.py and wan/vace.py; Wan-Video/Wan2.2 wan/configs; of Lucy-Edit the pipeline
# in diffusers 0.42.1.
# (steps, cfg, shift, solver, schedule), (width, height, frames), fps
UNIPC = ("unipc", "official")
FEW_STEPS = (4, 1.0, 5.0, "euler", "simple")
CAUSAL = (4, 1.0, 5.0, "lcm", "simple")
BERNINI = (6, 1.0, 8.0, "res_multistep", "simple")
SCAIL = (6, 1.0, 5.0, "euler", "simple")
FUN_A14B = (20, 3.5, 8.0, "euler", "simple")
OFFICIAL = {
    "t2v_1.3B": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_1.3B_enhanced": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_1.3B_motion": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_1.3B_prompt_travel": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_1.3B_step_cache": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_1.3B_windows": ((50, 6.0, 8.0, *UNIPC), (832, 480, 161), 16),
    # ComfyUI's template video_causal_forcing_i2v, whose sampler noises each guess afresh.
    "causal_i2v_1.3B": (CAUSAL, (832, 480, 81), 16),
    "causal_stream_1.3B": (CAUSAL, (832, 480, 161), 16),
    "edit_1.3B": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "edit_clip_lucy_5B": ((50, 5.0, 5.0, *UNIPC), (832, 480, 81), 24),
    "t2v_1.3B_native": ((50, 6.0, 8.0, *UNIPC), (832, 480, 81), 16),
    "t2v_14B": ((50, 5.0, 5.0, *UNIPC), (1280, 720, 81), 16),
    "i2v_14B_480p": ((40, 5.0, 3.0, *UNIPC), (832, 480, 81), 16),
    "uni3c_i2v_14B_480p": ((40, 5.0, 3.0, *UNIPC), (832, 480, 81), 16),
    "i2v_14B_720p": ((40, 5.0, 5.0, *UNIPC), (1280, 720, 81), 16),
    "flf2v_14B": ((50, 5.0, 16.0, *UNIPC), (1280, 720, 81), 16),
    **dict.fromkeys(("vace_1.3B", "vace_inpaint_1.3B"), ((50, 5.0, 16.0, *UNIPC), (832, 480, 81), 16)),
    "vace_outpaint_1.3B": ((50, 5.0, 16.0, *UNIPC), (832, 480, 81), 16),
    "vace_14B_reference": ((50, 5.0, 16.0, *UNIPC), (1280, 720, 81), 16),
    "ti2v_5B": ((50, 5.0, 5.0, *UNIPC), (1280, 704, 121), 24),
    "ti2v_5B_i2v": ((50, 5.0, 5.0, *UNIPC), (1280, 704, 121), 24),
    "t2v_A14B": ((40, 4.0, 12.0, *UNIPC), (1280, 720, 81), 16),
    "i2v_A14B": ((40, 3.5, 5.0, *UNIPC), (1280, 720, 81), 16),
    # Those of the LoRAs: their pages on the Hugging Face Hub, and ComfyUI's templates video_wan2_2_14B_*.
    "t2v_14B_lora_4_steps": (FEW_STEPS, (832, 480, 81), 16),
    "i2v_A14B_lora_4_steps": (FEW_STEPS, (640, 640, 81), 16),
    "t2v_A14B_lora_4_steps": (FEW_STEPS, (640, 640, 81), 16),
    "flf2v_A14B": (FEW_STEPS, (640, 640, 81), 16),
    "extend_A14B_lora_4_steps": (FEW_STEPS, (640, 640, 81), 16),
    # ComfyUI's template video_wan2.1_alpha_t2v_14B.
    "t2v_alpha_14B": ((20, 6.0, 5.0, "unipc", "simple"), (832, 480, 33), 16),
    # vita-epfl/Stable-Video-Infinity, branch svi_wan22: inference_svi_2.0_pro.py as its README runs it.
    "svi_A14B": ((50, 4.0, 5.0, "euler", "simple"), (832, 480, 81), 15),
    "long_video_A14B": (FEW_STEPS, (640, 640, 81), 16),
    "keyframe_film_A14B": (FEW_STEPS, (640, 640, 81), 16),
    # ComfyUI's templates video_wan2_2_14B_fun_*: the parts without LoRAs.
    "fun_camera_A14B": (FUN_A14B, (720, 720, 81), 16),
    "fun_control_A14B": (FUN_A14B, (640, 640, 81), 16),
    # ComfyUI's template video_bernini_r_video_editing, whose models have the shift 8 there.
    # Phantom-video/Phantom generate.py, s2v-1.3B.
    "phantom_1.3B": ((50, 7.5, 5.0, *UNIPC), (832, 480, 81), 16),
    # Wan-Video/Wan2.2 wan/configs/wan_animate_14B.py and generate.py.
    "animate_14B": ((20, 1.0, 5.0, *UNIPC), (1280, 720, 77), 30),
    "edit_bernini_A14B": (BERNINI, (832, 480, 81), 16),
    "reference_bernini_A14B": (BERNINI, (832, 480, 81), 16),
    # ComfyUI's template video_humo.
    "humo_17B": ((6, 1.0, 8.0, "unipc", "simple"), (640, 640, 97), 25),
    # ComfyUI's template video_wan21_scail2_character_replacement.
    "scail2_replacement": (SCAIL, (896, 512, 81), 30),
}
IN_PARTS = {"scail2_two_parts": "scail2_replacement"}
"""Parts that begin with the last frames of the one before, each by the settings of the workflow of the same model."""
PICTURE_FIRST = {"text_image_video_14B_480p": ("t2v_1.3B", "i2v_14B_480p")}
"""A picture by the settings of one workflow, its video by those of another."""
PICTURE_EDITS = {"edit_picture_chronoedit_14B": (50, 5.0, 5.0, *UNIPC)}
"""By scripts/run_inference_diffusers.py of nv-tlabs/ChronoEdit."""
ANIMATED = {
    "animate2_14B": ((6, 1.0, 5.0, "lcm", "simple"), (480, 848, 81), 30),
    "animate2_14B_long": ((10, 1.0, 5.0, "lcm", "simple"), (480, 848, 81), 30),
}
"""As ComfyUI's templates video_wan_animate2 and ..._distilled, whose 482 x 854 are a latent of the same size."""
HIGH_NOISE_STEPS = {FEW_STEPS: 2, FUN_A14B: 10, BERNINI: 3}
"""By the official settings; 0 leaves the change of experts to where they were trained to."""
FRAME_EDITS = {"edit_first_frame_14B_480p": "i2v_14B_480p"}
"""An edited first frame carried on, by the settings of the workflow of the same model."""
UPSCALED = {"upscale_14B_1280x2048": (FEW_STEPS, (1280, 2048, 113), 16)}
"""Makes a clip larger by an expert alone, with the settings of its LoRA."""
SPOKEN = {"s2v_14B": ((4, 1.0, 8.0, "unipc", "simple"), (640, 640, 77), 16)}
TALKING = {"infinitetalk_14B": ((6, 1.0, 8.0, "euler", "normal"), (832, 480, 81), 25)}
"""Chunks with one sound, by ComfyUI's templates video_wan2_2_14B_s2v (its LoRA for 4 steps), ..._infinitetalk."""
DANCED = {"dancer_14B"}
"""A plan and a dance, see test_dances.py."""
UPSCALE = "WanDirectorUpscaleVideo"
ONE_LORA = {BERNINI: {"high": 3, "low": 1.5}}
"""The strengths of a LoRA that both experts have."""
FILM = "WanDirectorLongVideo"
"""Has the settings of sampler, size, prompts and file itself."""
STREAM = "WanDirectorStreamVideo"
"""Samples and saves."""
EDIT = "WanDirectorEditClip"
SIZES = (
    "WanDirectorEmptyLatent", "WanDirectorImageToVideo", "WanDirectorVace", "WanDirectorFunControl",
    "WanDirectorBernini", "WanDirectorHumo", "WanDirectorInfiniteTalk", "WanDirectorAnimate", "WanDirectorPhantom",
    "WanDirectorCausalStart", "WanDirectorScail", "ImageScale", FILM,
)  # fmt: skip
SOURCE = "WanDirectorSourceVideo"
"""Takes its size from the clip, and an empty negative prompt goes with it."""
LATER_CLIPS = ("WanDirectorExtend", "WanDirectorSVI")
SAVERS = ("WanDirectorSaveVideo", "WanDirectorDecodeToVideo", STREAM)

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
each_bundled = pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
each_downloaded = pytest.mark.parametrize("path", DOWNLOADED, ids=lambda path: path.stem)


def canvas(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def prompt(path: Path) -> dict[str, dict]:
    return as_prompt(parse_graph(canvas(path), CLASSES))


def of_class(path: Path, *class_types: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in prompt(path).values() if node["class_type"] in class_types]


def number_of(path: Path, value: Any) -> Any:
    """The number of an input, also where it comes by a wire from Wan Camera Path, whose sizes go on as they are."""
    if not isinstance(value, list):
        return value
    source = prompt(path)[value[0]]
    assert source["class_type"] == "WanDirectorCameraPath"
    return source["inputs"][("camera", "width", "height", "frames")[value[1]]]


def loaders(path: Path) -> Iterator[tuple[dict, str, str]]:
    """(canvas node, file name, folder) of every loader."""
    named = prompt(path)
    for node in canvas(path)["nodes"]:
        if node["type"] in LOADER_WIDGETS:
            widget, folder = LOADER_WIDGETS[node["type"]]
            yield node, named[str(node["id"])]["inputs"][widget], folder


@each_workflow
def test_the_api_twin_is_the_same_graph(path: Path):
    assert json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8")) == prompt(path)


@each_workflow
def test_every_widget_has_its_value_as_a_canvas_would_save_it(path: Path):
    """A widget that a node got later has one too, or the page would queue something else than what the file says."""
    for node in prompt(path).values():
        if node["class_type"] in NODE_CLASS_MAPPINGS:
            names = widget_names(CLASSES[node["class_type"]].INPUT_TYPES(), node["inputs"])
            assert set(names) <= set(node["inputs"]), node["class_type"]


@each_workflow
def test_a_picture_of_the_same_name_lies_beside_it(path: Path):
    picture = path.with_suffix(".jpg")
    assert picture.read_bytes()[:3] == b"\xff\xd8\xff"
    assert picture.stat().st_size < 300_000


@each_workflow
def test_a_note_tells_the_user_what_to_do(path: Path):
    notes = [node["widgets_values"][0] for node in canvas(path)["nodes"] if node["type"] == "MarkdownNote"]
    text = "\n".join(notes)
    assert "bundled" in text or all(name in text and f"`{folder}`" in text for _, name, folder in loaders(path))


def test_the_list_of_workflows_names_each_and_says_what_it_makes(capsys: pytest.CaptureFixture[str]):
    assert main(["workflows"]) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = {line[: line.index("  ")]: line[line.index("  ") :].strip() for line in lines}
    assert set(columns) == {path.stem for path in WORKFLOWS}
    assert len({line.index(columns[name]) for name, line in zip(columns, lines)}) == 1
    assert columns["tiny_t2v"] == "Text to video: runs at once"
    assert columns["t2v_1.3B_prompt_travel"].endswith(": with wan2.1_t2v_1.3B_fp16.safetensors")
    assert all(len(words.split(": ")[0]) > 5 for words in columns.values())


def test_every_node_is_used_by_a_workflow():
    used = {node["class_type"] for path in WORKFLOWS for node in prompt(path).values()}
    of_users = {"WanDirectorPrepareClips", "WanDirectorSubmit", "WanDirectorFetch"}  # a folder or a queue of theirs
    assert used - set(CORE_NODES) == set(NODE_CLASS_MAPPINGS) - of_users


@each_bundled
def test_bundled_workflows_name_files_that_are_bundled(path: Path):
    for _, name, folder in loaders(path):
        assert isinstance(name, list) or (ROOT / "models" / folder / name).is_file()  # or it is made on the way


@each_downloaded
def test_comfyui_can_offer_the_download_of_every_file(path: Path):
    for node, name, folder in loaders(path):
        offered = node["properties"]["models"]
        known = known_file(name)
        url = f"https://huggingface.co/{known.repo}/resolve/main/{known.path_in_repo}"
        assert offered == [{"name": name, "url": url, "directory": folder}]


def test_every_workflow_has_official_settings():
    expected = {*OFFICIAL, *PICTURE_FIRST, *PICTURE_EDITS, *FRAME_EDITS, *UPSCALED, *ANIMATED, *IN_PARTS, *SPOKEN}
    assert {path.stem for path in DOWNLOADED} == {*expected, *TALKING, *DANCED}


@pytest.mark.parametrize(("name", "expected"), UPSCALED.items())
def test_a_clip_is_made_larger_by_the_low_noise_expert_within_24_gb(name, expected, capsys):
    path = ROOT / "workflows" / f"{name}.json"
    settings, (width, height, frames), fps = expected
    ((upscale,), (film,), (saver,)) = (of_class(path, kind) for kind in (UPSCALE, "WanDirectorLoadVideo", SAVERS[1]))
    assert tuple(upscale[key] for key in ("steps", "cfg", "shift", "solver", "schedule")) == settings
    assert (upscale["width"], upscale["height"], film["frames"], saver["fps"]) == (width, height, frames, fps)
    assert upscale["denoise"] <= 0.25 and film["width"] / film["height"] == width / height
    assert all("low_noise" in file for _, file, folder in loaders(path) if folder in ("diffusion_models", "loras"))
    capsys.readouterr()
    assert main(["plan", str(path), "--vram=24GB"]) == 0
    plan = capsys.readouterr().out
    assert "in 24 tiles of at most 81 frames of 480 x 832 at a time: 96 passes of the model in all" in plan
    assert "does not fit" not in plan and "swapped in" not in plan


@pytest.mark.parametrize(("name", "parts"), PICTURE_FIRST.items())
def test_a_picture_and_its_video_have_the_settings_of_their_models(name: str, parts: tuple[str, str]):
    path = ROOT / "workflows" / f"{name}.json"
    samplers = of_class(path, "WanDirectorSampler")
    settings = [
        tuple(each[key] for key in ("steps", "cfg", "shift", "solver", "schedule", "denoise")) for each in samplers
    ]
    assert settings == [(*OFFICIAL[part][0], 1) for part in parts]
    ((picture,), (fitted,), (video,)) = (
        of_class(path, f"WanDirector{kind}") for kind in ("EmptyLatent", "FitSize", "ImageToVideo")
    )
    width, height, frames = OFFICIAL[parts[1]][1]
    assert [picture[key] for key in ("width", "height", "frames")] == [width, height, 1]
    assert (fitted["area"], fitted["how"], video["frames"]) == (f"480p ({width} x {height})", "keep shape", frames)
    texts = of_class(path, "WanDirectorTextEncode")
    assert len(texts) == 2 and all(text["negative"].endswith(OFFICIAL_NEGATIVE) for text in texts)
    assert [saver["fps"] for saver in of_class(path, *SAVERS)] == [OFFICIAL[part][2] for part in parts[1:]]


@pytest.mark.parametrize(("name", "model"), FRAME_EDITS.items())
def test_an_edited_first_frame_goes_on_with_the_settings_of_its_model(name: str, model: str):
    path = ROOT / "workflows" / f"{name}.json"
    (steps, _cfg, shift, _solver, schedule), (width, height, frames), fps = OFFICIAL[model]
    (edit,), (film,), (saver,) = of_class(path, EDIT), of_class(path, "WanDirectorLoadVideo"), of_class(path, *SAVERS)
    assert (edit["steps"], edit["shift"], edit["schedule"]) == (steps, shift, schedule)
    assert (film["width"], film["height"], film["frames"], saver["fps"]) == (width, height, frames, fps)
    for side in of_class(path, "WanDirectorImageToVideo"):
        assert (side["width"], side["height"], side["frames"]) == (width, height, frames)
    assert all(text["negative"].endswith(OFFICIAL_NEGATIVE) for text in of_class(path, "WanDirectorTextEncode"))


@pytest.mark.parametrize(("name", "settings"), PICTURE_EDITS.items())
def test_an_edit_of_a_picture_has_the_settings_of_its_model(name: str, settings: tuple):
    path = ROOT / "workflows" / f"{name}.json"
    (edit,), (fitted,), (text,) = (
        of_class(path, f"WanDirector{kind}") for kind in ("EditPicture", "FitSize", "TextEncode")
    )
    assert tuple(edit[key] for key in ("steps", "cfg", "shift", "solver", "schedule")) == settings
    assert (fitted["area"], fitted["how"], fitted["multiple"]) == ("720p (1280 x 720)", "keep shape", 16)
    assert text["negative"] == "" and edit["clip_vision"]
    assert len(of_class(path, "SaveImage")) == 1


@pytest.mark.parametrize("path", [path for path in DOWNLOADED if path.stem in OFFICIAL], ids=lambda path: path.stem)
def test_settings_are_the_official_ones(path: Path):
    settings, shape, fps = OFFICIAL[path.stem]
    samplers = of_class(path, "WanDirectorSampler", FILM, STREAM)
    texts = of_class(path, "WanDirectorTextEncode", FILM)
    clips = of_class(path, *LATER_CLIPS)
    is_edited = bool(of_class(path, SOURCE))
    (size,) = of_class(path, *(["WanDirectorLoadVideo"] if is_edited else SIZES))
    (video,) = of_class(path, *SAVERS, FILM)
    edits = of_class(path, EDIT)
    assert len(samplers) == len(texts) - len(edits) == (2 if clips else 1)
    for edit in edits:
        assert (edit["steps"], edit["shift"], edit["schedule"]) == (settings[0], settings[2], settings[4])
    for sampler in samplers:
        assert tuple(sampler[name] for name in ("steps", "cfg", "shift", "solver", "schedule")) == settings
        assert sampler.get("denoise", 1) == 1
    assert len({sampler["seed"] for sampler in samplers}) == len(samplers)
    assert tuple(number_of(path, size[name]) for name in ("width", "height")) == shape[:2]
    frames = "clip_frames" if "clip_frames" in size else "frames"
    lengths = [number_of(path, each[frames]) for each in (size, *clips) if frames in each]
    assert lengths == [shape[2]] * len(samplers)
    assert all(text["negative"].endswith("" if is_edited else OFFICIAL_NEGATIVE) for text in texts)
    assert video["fps"] == fps == (size["fps"] if is_edited else fps)


@pytest.mark.parametrize("path", [path for path in DOWNLOADED if "A14B" in path.stem], ids=lambda path: path.stem)
def test_each_expert_has_its_own_file_and_lora(path: Path):
    graph = prompt(path)
    ((experts,),) = [[node["inputs"] for node in graph.values() if node["class_type"] == "WanDirectorExperts"]]
    settings = OFFICIAL[path.stem][0]
    has_loras = path.stem in ("flf2v_A14B", "svi_A14B") or settings == FEW_STEPS
    of_both = ONE_LORA.get(settings)
    for noise in ("high", "low"):
        source = graph[experts[f"{noise}_noise"][0]]
        if has_loras:
            assert (
                f"{noise}_noise" in source["inputs"]["lora_name"]
                or f"_{noise.upper()}_" in source["inputs"]["lora_name"]
            )
            assert source["inputs"]["strength"] == 1
            source = graph[source["inputs"]["model"][0]]
        if of_both:
            assert source["inputs"]["strength"] == of_both[noise]
            source = graph[source["inputs"]["model"][0]]
        assert f"{noise}_noise" in source["inputs"]["model_name"]
    assert experts["high_noise_steps"] == HIGH_NOISE_STEPS.get(OFFICIAL[path.stem][0], 0)


def advice_of(path: Path, *options: str) -> list[str]:
    """What is said of the settings of a workflow while it is planned, where the log is muted: each line once."""
    said: list[str] = []

    def listen(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return True

    logger.filters.insert(0, listen)
    try:
        assert main(["plan", str(path), "--vram=80GB", *options]) == 0
    finally:
        logger.filters.remove(listen)
    return list(dict.fromkeys(line for line in said if "do not go together" in line))


@each_workflow
def test_its_settings_go_together(path: Path):
    of_your_picture = ["--size=1280x720x5"] if path.stem in PICTURE_EDITS else []  # which is not here
    assert advice_of(path, *of_your_picture) == []


def test_other_settings_of_a_workflow_do_not_go_together():
    """So that silence above means something."""
    path = ROOT / "workflows" / "i2v_A14B_lora_4_steps.json"
    sampler = next(id for id, node in prompt(path).items() if node["class_type"] == "WanDirectorSampler")
    (told,) = advice_of(path, f"--set={sampler}.steps=20", f"--set={sampler}.cfg=3.5")
    assert told.count("wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors") == 2
    assert told.count("wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors") == 2
    (told,) = advice_of(path, f"--set={sampler}.shift=40")
    assert "Shift 40 with wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors" in told
    path = ROOT / "workflows" / "t2v_1.3B.json"
    sampler = next(id for id, node in prompt(path).items() if node["class_type"] == "WanDirectorSampler")
    assert advice_of(path, f"--set={sampler}.steps=4")


@each_bundled
def test_bundled_workflows_run(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.chdir(tmp_path)  # a folder `models` where it is run gets what is trained
    samplers = ("WanDirectorSampler", "WanDirectorTrainLora", EDIT, UPSCALE, FILM, STREAM)
    steps = [f"--set={id}.steps=2" for id, node in prompt(path).items() if node["class_type"] in samplers]
    assert main(["run", str(path), f"--output={tmp_path}", "--device=cpu", "--quiet", *steps]) == 0
    videos = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert videos and {video.parent for video in videos} == {tmp_path / "video"}
    assert all(video.read_bytes()[4:8] == b"ftyp" for video in videos)


@each_workflow
def test_every_wire_leads_somewhere(path: Path):
    graph = parse_graph(canvas(path), CLASSES)
    wires = [value for node in graph.values() for value in node.inputs.values() if isinstance(value, Link)]
    assert len(wires) == len(canvas(path)["links"])
    assert {wire.node for wire in wires} <= set(graph)
