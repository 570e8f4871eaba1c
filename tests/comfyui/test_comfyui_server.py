"""The pack inside a real ComfyUI: it starts, tells about its nodes, runs its workflows and refuses in one sentence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.media.sound.reading import probe_sound

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows" / "api").glob("*.json"))
BUNDLED = [path for path in WORKFLOWS if path.stem.startswith("tiny_") and path.stem != "tiny_batch_prompts"]
"""Those that make one video; what makes several is in `test_comfyui_prompts`."""
MADE = {
    "tiny_extend": ((64, 64), 29),
    "tiny_keyframe_film": ((64, 64), 33),
    "tiny_long_video": ((64, 64), 65),
    "tiny_text_image_video": ((64, 64), 17),
    "tiny_tiles": ((128, 128), 17),
    "tiny_upscale": ((128, 128), 17),
}
"""(width, height) and frames of videos that are another size than an empty latent of theirs, or have none."""


def prompt_of(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


def first(prompt: dict[str, Any], *class_types: str) -> dict[str, Any]:
    """Inputs of the first node of these classes, to be changed in place."""
    return next(node["inputs"] for node in prompt.values() if node["class_type"] in class_types)


def test_it_starts_without_an_error(comfyui):
    log = comfyui.log
    assert "custom_nodes/wan-director" in log
    for trouble in ("IMPORT FAILED", "Cannot import", "Traceback"):
        assert trouble not in log


ADDED_AFTER_0_3_64 = {
    "dev_only",
    "essentials_category",
    "has_intermediate_output",
    "is_input_list",
    "output_matchtypes",
    "price_badge",
    "search_aliases",
}


def test_node_information_equals_the_stand_ins(node_information):
    knows_advanced = "advanced" in json.dumps(node_information["WanDirectorMemory"])
    for node_id, node_class in NODE_CLASS_MAPPINGS.items():
        found = node_information[node_id]
        expected = json.loads(json.dumps(node_class.GET_NODE_INFO_V1())) | {
            "python_module": "custom_nodes.wan-director"
        }
        specs = [spec for inputs in expected["input"].values() for spec in inputs.values() if len(spec) == 2]
        for _type, options in [] if knows_advanced else specs:
            options.pop("advanced", None)
        unknown = set(expected) - set(found)
        assert unknown <= ADDED_AFTER_0_3_64
        assert found == {name: value for name, value in expected.items() if name not in unknown}


def test_errors_in_a_run_show_no_folder(odd_models):
    prompt_id, answer = odd_models.queue(REFUSALS["no_image"][0])
    assert prompt_id, answer
    assert error_of_run(odd_models, prompt_id)["exception_type"] == "wan_director.PairingError"


def test_help_pages_and_workflow_templates_are_served(comfyui):
    for node_id in NODE_CLASS_MAPPINGS:
        assert comfyui.get(f"/extensions/wan-director/docs/{node_id}.md").startswith(b"# ")
    assert set(comfyui.get_json("/workflow_templates")["wan-director"]) == {path.stem for path in WORKFLOWS}
    for path in WORKFLOWS:
        assert json.loads(comfyui.get(f"/api/workflow_templates/wan-director/{path.name}"))["nodes"]
        assert comfyui.get(f"/api/workflow_templates/wan-director/{path.stem}.jpg").startswith(b"\xff\xd8")


def test_the_template_browser_names_the_pack(comfyui):
    assert comfyui.get_json("/i18n")["en"]["templateWorkflows"]["category"]["wan-director"] == "Wan Director"


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_bundled_workflows_make_a_video(comfyui, path: Path):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    record = comfyui.run(prompt)
    assert record["status"]["status_str"] == "success", record["status"]["messages"]
    pictures = [each for output in record["outputs"].values() for each in output.get("images", [])]
    (shown,) = [each for each in pictures if each["type"] == "output"]  # Wan Memory shows its plan from temp
    video = comfyui.folder / "output" / shown["subfolder"] / shown["filename"]
    saver = first(prompt, "WanDirectorSaveVideo", "WanDirectorDecodeToVideo", "WanDirectorLongVideo")
    fps = first(prompt, "CreateVideo")["fps"] if isinstance(saver["fps"], list) else saver["fps"]
    assert properties(video) == (*made_of(path.stem, prompt), fps)
    assert (probe_sound(video) is not None) is ("audio" in saver)


def made_of(name: str, prompt: dict[str, Any]) -> tuple[tuple[int, int], int]:
    """(width, height) and frames of the video that a bundled workflow makes: as its empty latent, or as named."""
    if name in MADE:
        return MADE[name]
    size = first(prompt, "WanDirectorEmptyLatent")
    return (size["width"], size["height"]), size["frames"]


def properties(video: Path) -> tuple[tuple[int, int], int, float]:
    """(width, height), frames and fps of a video file."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(video))
    meta = next(reader)
    return meta["source_size"], sum(1 for _ in reader), meta["fps"]


def test_a_result_is_loaded_by_the_name_that_the_canvas_gives_it(comfyui):
    """Its dropdown names results without the subfolder that they were saved in."""
    made = comfyui.run(changed("tiny_t2v", "WanDirectorSaveVideo", filename_prefix="video/chosen"))
    (video,) = next(iter(made["outputs"].values()))["images"]
    frames = {"start_frame": 0, "frames": 5, "fps": 0, "width": 0, "height": 0, "fit": "crop"}
    record = comfyui.run({
        "1": {"class_type": "WanDirectorLoadVideo", "inputs": {"file": f"{video['filename']} [output]", **frames}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    })  # fmt: skip
    assert record["status"]["status_str"] == "success"
    assert len(record["outputs"]["2"]["images"]) == 5


def test_another_prompt_loads_and_encodes_only_what_changed(comfyui):
    prompt = prompt_of("tiny_t2v")
    comfyui.run(prompt)
    first(prompt, "WanDirectorTextEncode")["positive"] = "a blue square moves up on a yellow background"
    record = comfyui.run(prompt)
    (cached,) = [each["nodes"] for kind, each in record["status"]["messages"] if kind == "execution_cached"]
    kept = {prompt[node]["class_type"] for node in cached}
    assert {"WanDirectorLoadModel", "WanDirectorLoadVAE", "WanDirectorLoadTextEncoder"} <= kept
    assert "WanDirectorTextEncode" not in kept


def test_the_command_line_makes_the_same_frames(comfyui, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prompt = changed("tiny_i2v", "WanDirectorSaveVideo", format="png frames", filename_prefix="same")
    for node in prompt.values():
        if node["class_type"] == "WanDirectorSampler":
            node["inputs"]["steps"] = 3
    comfyui.run(prompt)
    theirs = sorted((comfyui.folder / "output").glob("same*/*.png"))
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(prompt), encoding="utf-8")
    assert main(["run", str(graph), f"--output={tmp_path}", "--device=cpu", "--quiet"]) == 0
    ours = sorted(tmp_path.glob("same*/*.png"))
    assert len(ours) == len(theirs) == 17
    assert [pixels(path) for path in ours] == [pixels(path) for path in theirs]


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


def refusal(server, prompt: dict[str, Any]) -> str:
    """What the user reads: the server's answer to the queueing, or the error of the run."""
    prompt_id, answer = server.queue(prompt)
    if prompt_id is None:
        (error,) = [error for node in answer["node_errors"].values() for error in node["errors"]]
        return error["details"]
    return error_of_run(server, prompt_id)["exception_message"].strip()


def error_of_run(server, prompt_id: str) -> dict[str, Any]:
    """What the server tells the canvas of the error that ended a run."""
    (error,) = [each for kind, each in server.wait_for(prompt_id)["status"]["messages"] if kind == "execution_error"]
    return error


def changed(name: str, class_type: str, **values: Any) -> dict[str, Any]:
    """A bundled workflow with some values of the first node of a class changed."""
    prompt = prompt_of(name)
    first(prompt, class_type).update(values)
    return prompt


def without_image() -> dict[str, Any]:
    """Text to video with an image-to-video model of Wan 2.1 and what belongs to it."""
    prompt = changed("tiny_t2v", "WanDirectorLoadModel", model_name="wan21_i2v.safetensors")
    first(prompt, "WanDirectorLoadVAE")["vae_name"] = "wan21_vae.safetensors"
    first(prompt, "WanDirectorLoadTextEncoder")["text_encoder_name"] = "wan21_text.safetensors"
    return prompt


def with_image() -> dict[str, Any]:
    """Image to video with the text-to-video model in both places."""
    prompt = prompt_of("tiny_i2v")
    for node in prompt.values():
        if node["class_type"] == "WanDirectorLoadModel":
            node["inputs"]["model_name"] = "wan_director_tiny_demo_t2v.safetensors"
    return prompt


def model_file(name: str) -> dict[str, Any]:
    return changed("tiny_t2v", "WanDirectorLoadModel", model_name=name)


REFUSALS = {
    "frames": (changed("tiny_t2v", "WanDirectorEmptyLatent", frames=80), "Use 77 or 81."),
    "width": (changed("tiny_t2v", "WanDirectorEmptyLatent", width=100), "must be a multiple of 16 pixels, got 100"),
    "no_image": (without_image(), "is an image-to-video model and needs a start image"),
    "an_image": (with_image(), "is a text-to-video model and cannot take a start image"),
    "wrong_vae": (changed("tiny_t2v", "WanDirectorLoadVAE", vae_name="wan21_vae.safetensors"), "_demo_vae.safetensors"),
    "wrong_text_encoder": (
        changed("tiny_t2v", "WanDirectorLoadTextEncoder", text_encoder_name="wan21_text.safetensors"),
        "_demo_text_encoder.safetensors",
    ),
    "truncated": (model_file("truncated.safetensors"), "truncated.safetensors is incomplete"),
    "web_page": (model_file("page.safetensors"), "page.safetensors is a web page"),
    "no_wan_model": (model_file("foreign.safetensors"), "foreign.safetensors"),
    "missing": (model_file("wan2.1_t2v_1.3B_fp16.safetensors"), "models/diffusion_models, or run: "),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_mistake_is_answered_with_one_sentence(odd_models, name: str):
    prompt, sentence = REFUSALS[name]
    told = refusal(odd_models, prompt)
    assert sentence in told
    assert "\n" not in told


def test_a_long_prompt_is_cut_with_a_note_in_the_log(comfyui):
    prompt = changed("tiny_t2v", "WanDirectorTextEncode", positive="a red circle moves to the right " * 200)
    assert comfyui.run(prompt)["status"]["status_str"] == "success"
    assert "512" in comfyui.log


def test_the_queue_works_after_a_refusal(odd_models):
    refusal(odd_models, REFUSALS["no_image"][0])
    assert odd_models.run(prompt_of("tiny_t2v"))["status"]["status_str"] == "success"


def test_refusals_leave_no_traceback_in_the_log_but_comfyuis_own_frames(odd_models):
    refusal(odd_models, REFUSALS["an_image"][0])
    frames = [line for line in odd_models.log.splitlines() if line.lstrip().startswith("File ")]
    assert [line for line in frames if "wan-director" in line and "nodes/api.py" not in line] == []


def test_installing_the_requirements_changes_nothing_else(comfyui):
    command = [comfyui.python, "-m", "pip", "install", "--dry-run", "--quiet", "--report=-", "-r", "requirements.txt"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {package["metadata"]["name"].lower() for package in json.loads(found.stdout)["install"]}
    assert wanted <= {"huggingface-hub", "huggingface_hub", "imageio-ffmpeg"}
