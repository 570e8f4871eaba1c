"""`wan-director download`: names as people write them, and the folder that `run` looks into."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save
from wan_director.__main__ import main
from wan_director.model_loading.publishing import known_files, missing
from wan_director.model_loading.publishing.tasks import TASKS
from wan_director.nodes.headless.commands import bundled

from ...model_loading.hub_server import Hub, serving

DATA = save({"w": torch.ones(100)})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A Hub with small files under the published names."""
    small = tuple(file._replace(size_bytes=len(DATA), sha256=None) for file in known_files.KNOWN_FILES)
    for module in (known_files, missing):
        monkeypatch.setattr(module, "KNOWN_FILES", small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(Hub(DATA)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


@pytest.mark.parametrize("name", ["??", "nothing like it", ""])
def test_an_unknown_name_lists_the_published_files(name, capsys):
    assert main(["download", name]) == 1
    assert "wan_2.1_vae.safetensors  the VAE of" in capsys.readouterr().err


def test_a_part_of_names_is_answered_with_a_few_of_them(capsys, hub):
    assert main(["download", "LoRA"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("wan-director: 'LoRA' is not a file known here, but a part of names. Did you mean ")
    assert err.count("lora") == 4 and " or one of " in err and err.count("\n") == 1 and hub.asked == []
    assert main(["download", "rgba"]) == 1
    assert "Did you mean wan_alpha_2.1_rgba_lora.safetensors? Give" in capsys.readouterr().err


def test_a_near_miss_is_suggested_and_not_downloaded(capsys, hub):
    assert main(["download", "umt5-xxl-fp16"]) == 1
    err = capsys.readouterr().err
    assert "Did you mean umt5_xxl_fp16.safetensors" in err and err.count("\n") == 1 and hub.asked == []


@pytest.mark.parametrize("name", ["wan_2.1_vae", "WAN_2.1_VAE.safetensors", "vae\\wan_2.1_vae.safetensors"])
def test_the_readmes_names_are_known(name, capsys, hub):
    assert main(["download", name]) == 0
    assert capsys.readouterr().out == "models/vae/wan_2.1_vae.safetensors\n"


def _places(tmp_path: Path) -> dict[str, tuple[list[str], Path]]:
    """Options of `run`, and where it then looks for text encoders first."""
    (tmp_path / "my models" / "text_encoders").mkdir(parents=True)
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    paths = {"mine": {"base_path": str(tmp_path / "other disk"), "text_encoders": "encoders\nmore"}}
    (tmp_path / "paths.yaml").write_text(yaml.safe_dump(paths))
    return {
        "default": ([], Path("models/text_encoders")),
        "models": (["--models", "my models"], Path("my models/text_encoders")),
        "comfyui": (["--comfyui", str(tmp_path / "ComfyUI")], tmp_path / "ComfyUI/models/text_encoders"),
        "extra": (["--extra-model-paths", str(tmp_path / "paths.yaml")], tmp_path / "other disk/encoders"),
        "to": (["--to", "here"], Path("here")),
    }


@pytest.mark.parametrize("options", ["default", "models", "comfyui", "extra", "to"])
def test_a_download_goes_where_run_looks(options, capsys, hub, tmp_path):
    given, folder = _places(tmp_path)[options]
    assert main(["download", "umt5_xxl_fp16", *given]) == 0
    target = Path(capsys.readouterr().out.rstrip("\n"))
    assert target == folder / "umt5_xxl_fp16.safetensors" and target.read_bytes() == DATA


@pytest.mark.parametrize("options", ["default", "models", "comfyui", "extra"])
def test_the_hint_of_a_missing_file_downloads_it_to_where_run_looks(options, capsys, hub, tmp_path, write, prompt):
    given, folder = _places(tmp_path)[options]
    prompt["3"]["inputs"]["text_encoder_name"] = "umt5_xxl_fp16.safetensors"
    assert main(["run", str(write(prompt)), "--quiet", *given]) == 1
    sentence = capsys.readouterr().err.strip()
    command = sentence.rpartition("or run: ")[2]
    assert f"put it into {folder}" in sentence and ("--to" in command) == (options != "default")
    assert main(shlex.split(command)[1:]) == 0
    assert (folder / "umt5_xxl_fp16.safetensors").is_file()
    assert main(["run", str(write(prompt)), "--quiet", *given]) == 1
    assert "is missing" not in capsys.readouterr().err


def test_offline_the_answer_comes_without_a_request(capsys, hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["download", "wan_2.1_vae"]) == 1
    assert "offline mode is on" in capsys.readouterr().err and hub.asked == []


def test_a_question_mark_lists_the_tasks_and_the_published_files(capsys):
    assert main(["download", "?"]) == 0
    out, err = capsys.readouterr()
    files = (*known_files.KNOWN_FILES, *known_files.WAITING_FILES)
    assert len(out.splitlines()) == len(TASKS) + len(files) and not err
    assert "\nsam3.1_multiplex_fp16.safetensors  SAM 3.1, which finds masks; not run by this version\n" in out
    assert "wan_2.1_vae.safetensors  the VAE" in out and "ti2v-5B  text and image to video, Wan 2.2 (3 files" in out


NON_COMMERCIAL = "its licence is for non-commercial use only"


@pytest.mark.parametrize("name", ["lucy-edit-dev-cui-fp16", "edit-clip-5B", "edit_clip_lucy_5B"])
def test_what_may_not_be_used_for_money_says_so_before_it_comes(name, capsys, hub):
    assert main(["download", name]) == 0
    assert capsys.readouterr().err.startswith(f"lucy-edit-dev-cui-fp16.safetensors: {NON_COMMERCIAL}. Read it")
    assert main(["download", "wan2.2_vae"]) == 0
    assert NON_COMMERCIAL not in capsys.readouterr().err


def test_lists_and_plans_say_what_may_not_be_used_for_money(capsys):
    said = {}
    for command in (["download", "?"], ["workflows"], ["plan", "edit_clip_lucy_5B", "--vram", "24GB"]):
        assert main(command) == 0
        said[command[0]] = [line for line in capsys.readouterr().out.splitlines() if NON_COMMERCIAL in line]
    assert [line.split()[0] for line in said["download"]] == ["edit-clip-5B", "lucy-edit-dev-cui-fp16.safetensors"]
    assert [line.split()[0] for line in said["workflows"]] == ["edit_clip_lucy_5B"] and len(said["plan"]) == 1


def test_bundled_workflows_have_titles_of_their_own():
    titles = [bundled.bundled_title(name) for name in bundled.bundled_names()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("path", sorted(bundled.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_bundled_workflow_is_found_by_its_name(path):
    """Also one with a dot in its name."""
    assert bundled.workflow_path(Path(path.stem)) == path
    assert bundled.workflow_path(Path(path.stem.upper())) == path


def test_a_folder_of_its_name_does_not_hide_a_bundled_workflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_t2v").mkdir()
    assert bundled.workflow_path(Path("tiny_t2v")) == bundled.FOLDER / "tiny_t2v.json"
