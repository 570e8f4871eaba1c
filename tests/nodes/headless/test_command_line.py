"""The command line: exit codes, one sentence for a mistake, files where they were asked for, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
import yaml
from safetensors.torch import load_file, save_file
from wan_director.__main__ import main
from wan_director.nodes.headless.model_paths import extra_model_paths, models_of_comfyui

WAN21 = {
    ("1", "model_name"): "wan21_i2v.safetensors",
    ("2", "vae_name"): "wan21_vae.safetensors",
    ("3", "text_encoder_name"): "wan21_text.safetensors",
}
# (changes to the prompt, words of the sentence): the mistakes that users make most
MISTAKES = {
    "frames": ({("5", "frames"): 80}, "A clip has 1 + 4k frames, got 80. Use 77 or 81."),
    "size": ({("5", "width"): 70}, "The width must be a multiple of 16 pixels, got 70. Use 64 or 80."),
    "I2V model without an image": (WAN21, "needs a start image"),
    "text encoder": ({("3", "text_encoder_name"): "wan21_text.safetensors"}, "wan21_text.safetensors"),
    "VAE": ({("2", "vae_name"): "wan21_vae.safetensors"}, "wan21_vae.safetensors"),
    "missing file": ({("1", "model_name"): "wan2.1_t2v_14B_bf16.safetensors"}, "wan-director download"),
    "unknown input": ({("6", "speed"): 3}, "has no input 'speed'"),
}


@pytest.fixture
def run(models: Path, tmp_path: Path, capsys):
    """Runs `wan-director run` and gives (exit code, standard output, standard error)."""

    def run(graph: Path, *options: str):
        code = main(["run", str(graph), "--models", str(models), "--output", str(tmp_path / "out"), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_run_saves_a_video_and_says_where(run, write, prompt, tmp_path):
    code, out, err = run(write(prompt), "--set", "6.seed=5", "--set", "Size.width=96", "--device", "cpu")
    path = Path(out.strip())
    assert code == 0 and path == tmp_path / "out" / "video" / "test_00001_.mp4"
    facts = next(imageio_ffmpeg.read_frames(str(path)))
    assert (facts["codec"], facts["size"], facts["fps"]) == ("h264", (96, 48), 8)
    assert "Loading t2v.safetensors" in err
    assert run(write(prompt), "--quiet")[1:] == (f"{tmp_path}/out/video/test_00002_.mp4\n", "")


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_1(case, run, write, prompt, tmp_path):
    changes, words = MISTAKES[case]
    for (id, name), value in changes.items():
        prompt[id]["inputs"][name] = value
    code, out, err = run(write(prompt), "--quiet")
    assert code == 1 and out == ""
    assert words in err and err.startswith("wan-director: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_node_is_one_sentence(run, write, prompt):
    prompt["6"]["class_type"] = "WanVideoSampler"
    assert run(write(prompt), "--quiet") == (
        1,
        "",
        "wan-director: Node 6 'Sampler' is a WanVideoSampler, which the command line does not know. It runs the nodes "
        "of Wan Director and ComfyUI's for Wan models, pictures, videos and values; run this workflow in ComfyUI, or "
        "replace the node with Wan Sampler.\n",
    )


def test_a_picture_for_a_text_model_is_refused(run, write, prompt, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 48)).save(tmp_path / "start.png")
    prompt["9"] = {"class_type": "LoadImage", "inputs": {"image": "start.png"}}
    widgets = {"width": 64, "height": 48, "frames": 5, "batch_size": 1, "fit": "crop"}
    wires = {"positive": ["4", 0], "negative": ["4", 1], "vae": ["2", 0], "start_image": ["9", 0]}
    prompt["5"] = {"class_type": "WanDirectorImageToVideo", "inputs": {**wires, **widgets}}
    prompt["6"]["inputs"] |= {"positive": ["5", 0], "negative": ["5", 1], "latent": ["5", 2]}
    code, _, err = run(write(prompt), "--quiet")
    assert code == 1 and "cannot take a start image" in err and err.count("\n") == 1
    code, out, _ = run(write(prompt), "--quiet", "--set", "1.model_name=i2v.safetensors")
    assert code == 0 and Path(out.strip()).is_file()


def test_damaged_model_files_are_one_sentence(run, write, prompt, models, tmp_path):
    whole = (models / "diffusion_models" / "t2v.safetensors").read_bytes()
    folder = tmp_path / "other" / "diffusion_models"
    folder.mkdir(parents=True)
    (folder / "cut.safetensors").write_bytes(whole[:5000])
    (folder / "sd.safetensors").write_bytes((models / "vae" / "vae.safetensors").read_bytes())
    paths = tmp_path / "extra_model_paths.yaml"
    paths.write_text(yaml.safe_dump({"other": {"base_path": str(folder.parent), "diffusion_models": folder.name}}))
    for name, words in (("cut", "incomplete"), ("sd", "not a diffusion model")):
        prompt["1"]["inputs"]["model_name"] = f"{name}.safetensors"
        code, _, err = run(write(prompt), "--quiet", "--extra-model-paths", str(paths))
        assert code == 1 and words in err and err.count("\n") == 1
    assert main(["inspect", str(folder / "cut.safetensors")]) == 1


def test_a_device_that_is_not_there_is_refused(run, write, prompt):
    code, _, err = run(write(prompt), "--quiet", "--device", "cuda:99")
    assert code == 1 and "The device 'cuda:99' cannot be used here" in err and err.count("\n") == 1
    code, _, err = run(write(prompt), "--quiet", "--device", "toaster")
    assert code == 1 and "The device 'toaster' cannot be used here" in err and err.count("\n") == 1


def test_wrong_usage_is_exit_code_2(capsys):
    for arguments in ([], ["run"], ["fly"], ["run", "a.json", "--speed", "3"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "usage: wan-director" in capsys.readouterr().err


def test_inspect_refuses_a_file_that_lacks_tensors(models, tmp_path, capsys):
    weights = load_file(models / "diffusion_models" / "t2v.safetensors")
    path = tmp_path / "lacking.safetensors"
    metadata = {"wan_director.family": "tiny", "wan_director.heads": "4"}
    save_file({key: value for key, value in weights.items() if not key.startswith("blocks.0.ffn.")}, path, metadata)
    assert main(["inspect", str(path)]) == 1
    assert "lacking.safetensors" in capsys.readouterr().err
    save_file({key: value for key, value in weights.items() if "norm_q" not in key}, path, metadata)
    assert main(["inspect", str(path)]) == 1
    shown = capsys.readouterr()
    assert "T2V of the tiny demo model" in shown.out
    assert (
        "lacks 4 of the 69 tensors of T2V of the tiny demo model (first: blocks.0.self_attn.norm_q.weight" in shown.err
    )


def test_inspect_and_nodes(models, capsys):
    assert main(["inspect", str(models / "vae" / "vae.safetensors")]) == 0
    assert "tiny demo model" in capsys.readouterr().out
    assert main(["nodes"]) == 0
    assert "WanDirectorSampler (Wan Sampler)" in capsys.readouterr().out
    assert main(["nodes", "--json"]) == 0
    assert "WanDirectorDecode" in json.loads(capsys.readouterr().out)


def test_model_folders_of_a_comfyui(models, write, prompt, tmp_path, capsys):
    comfyui = tmp_path / "ComfyUI"
    (comfyui / "models" / "unet").mkdir(parents=True)
    (comfyui / "models" / "unet" / "t2v.safetensors").symlink_to(models / "diffusion_models" / "t2v.safetensors")
    paths = {"mine": {"base_path": str(models), "vae": "vae", "clip": "nowhere\ntext_encoders\n"}, "empty": None}
    (comfyui / "extra_model_paths.yaml").write_text(yaml.safe_dump(paths))
    assert models_of_comfyui(comfyui)["text_encoders"][-1] == models / "text_encoders"
    arguments = ["run", str(write(prompt)), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--comfyui", str(comfyui)]) == 0
    assert main([*arguments, "--comfyui", str(tmp_path)]) == 1
    assert "is no ComfyUI folder" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text("- 1\n- 2")
    assert main([*arguments, "--extra-model-paths", str(tmp_path / "bad.yaml")]) == 1
    assert "bad.yaml is not in the form of" in capsys.readouterr().err
    assert extra_model_paths(comfyui / "extra_model_paths.yaml")["vae"] == [models / "vae"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c_stops_between_blocks(models, write, prompt, tmp_path):
    prompt["6"]["inputs"] |= {"steps": 1000, "solver": "heun"}
    prompt["5"]["inputs"] |= {"width": 256, "height": 256, "frames": 33}
    command = [sys.executable, "-m", "wan_director", "run", str(write(prompt)), "--models", str(models)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stderr:
        if "Loading t2v.safetensors" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert rest.splitlines()[-1].startswith("wan-director: stopped.") and "Traceback" not in rest
    assert not (tmp_path / "out").exists()


def test_a_table_that_is_not_there_is_missing_and_not_damaged(run, write, prompt):
    cache = {"model": ["1", 0], "method": "magcache", "threshold": -1.0, "start": 0.2, "end": 0.95, "most_in_a_row": 3}
    prompt["9"] = {"class_type": "WanDirectorStepCache", "inputs": {**cache, "table": "gone.json"}}
    prompt["6"]["inputs"]["model"] = ["9", 0]
    code, _, err = run(write(prompt))
    assert code == 1 and "There is no table gone.json. Give the path that the log named" in err
