"""`wan-director download` of all files of a workflow or a task: listed, weighed, resumed, one failure among many."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.model_loading.publishing import known_files, missing, transfer
from wan_director.model_loading.publishing.known_files import known_file
from wan_director.model_loading.publishing.tasks import TASKS, named_tasks
from wan_director.nodes.headless.commands import bundled
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.wanted_models import wanted_models

from ...model_loading.hub_server import Hub, serving

DATA = save({"w": torch.ones(1000)})
I2V = {
    "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors", "text_encoders/umt5_xxl_fp16.safetensors",
    "vae/wan_2.1_vae.safetensors", "clip_vision/clip_vision_h.safetensors",
}  # fmt: skip
GATED = (403, {"X-Error-Code": "GatedRepo"})
PACKAGE = importlib.util.find_spec("comfyui_workflow_templates_json")
needs_templates = pytest.mark.skipif(PACKAGE is None, reason="comfyui-workflow-templates-json is not installed")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A Hub that has small files at every address, and a working folder of its own."""
    small = tuple(file._replace(size_bytes=len(DATA), sha256=None) for file in known_files.KNOWN_FILES)
    for module in (known_files, missing):
        monkeypatch.setattr(module, "KNOWN_FILES", small)
    waiting = tuple(file._replace(size_bytes=len(DATA)) for file in known_files.WAITING_FILES)
    monkeypatch.setattr(known_files, "WAITING_FILES", waiting)
    monkeypatch.setattr(transfer, "_WAIT_S", 0)
    monkeypatch.setattr(transfer, "_MAX_WAIT_S", 0)
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving(Hub(DATA)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def downloaded(folder: Path = Path("models")) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def template(name: str) -> Path:
    assert PACKAGE is not None and PACKAGE.origin is not None
    return Path(PACKAGE.origin).parent / "templates" / f"{name}.json"


def write(data: dict) -> str:
    Path("mine.json").write_text(json.dumps(data), encoding="utf-8")
    return "mine.json"


def loader(name: object, *models: dict, mode: int = 0) -> dict:
    """A canvas file with a loader that no one here knows, and what it offers for download."""
    node = {"id": 7, "type": "SomeLoader", "mode": mode, "properties": {"models": models}, "widgets_values": [name]}
    return {"nodes": [node], "links": []}


def offer(name: str, **changes: str) -> dict:
    url = f"https://huggingface.co/Owner/Repo/resolve/main/some/{name}"
    return {"name": name, "url": url, "directory": "model_patches", **changes}


def test_all_files_of_a_bundled_workflow_come_and_the_second_time_all_are_there(hub, capsys):
    assert main(["download", "i2v_14B_480p"]) == 0
    assert downloaded() == I2V
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "i2v_14B_480p: 4 files" and out[5].startswith("To download: 16.3 kB. Free: ")
    assert {line.split()[0] for line in out[1:5]} == {"missing"}
    assert set(out[6:]) == {str(Path("models", each)) for each in I2V}
    asked = len(hub.asked)
    assert main(["download", "i2v_14B_480p"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in out[1:]] == [["there", "4.1", "kB"]] * 4 and len(hub.asked) == asked


@pytest.mark.parametrize("path", sorted(bundled.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_both_formats_of_a_workflow_name_the_files_it_offers(path: Path, hub, capsys):
    offered = [each for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]
               for each in node["properties"].get("models", [])]  # fmt: skip
    expected = {str(Path("models", each["directory"], each["name"])) for each in offered}
    for each in (path.stem, str(path), str(path.parent / "api" / path.name)):
        assert main(["download", each, "--dry-run"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert {line.split()[-1] for line in lines[1:] if line.startswith("  ")} == expected
        assert (lines == [f"{path.stem}: no files"]) is path.stem.startswith("tiny")
    assert hub.asked == [] and not Path("models").exists()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_name_published_files_with_all_that_they_need(task, hub):
    kinds = [file.kind.name for file in task.files]
    assert len(task.files) == len(task.file_names)
    assert kinds.count("text_encoder") == 1
    assert kinds.count("vae") == (2 if "alpha" in task.name else 1)  # one of colours, one of opacity
    two = "A14B" in task.name or "dancer" in task.name  # experts; the whole dance and its parts
    assert kinds.count("dit") == (2 if two else 1)
    assert ("fp8" in task.name) == all(
        "fp8" in file.name for file in task.files if file.kind.name in ("dit", "text_encoder")
    )
    always_few = "causal" in task.name  # there is no other model of the kind
    assert ("steps" in task.name or always_few) == any(file.for_few_steps for file in task.files)
    assert named_tasks(task.name.upper().replace("-", "_")) == [task]


@pytest.mark.parametrize(
    ("workflow", "task"),
    [
        ("t2v_1.3B", "t2v-1.3B"), ("t2v_14B", "t2v-14B"), ("t2v_A14B", "t2v-A14B"),
        ("t2v_14B_lora_4_steps", "t2v-14B-fp8-4steps"), ("i2v_14B_480p", "i2v-14B-480p"),
        ("i2v_14B_720p", "i2v-14B-720p"), ("i2v_A14B", "i2v-A14B"), ("flf2v_14B", "flf2v-14B"), ("ti2v_5B", "ti2v"),
        ("vace_1.3B", "vace-1.3B"),
    ],
)  # fmt: skip
def test_a_tasks_files_are_those_of_its_workflow(workflow, task):
    (found,) = named_tasks(task)
    assert set(found.file_names) == set(files_of(workflow))


def files_of(workflow: str) -> list[str]:
    nodes = json.loads((bundled.FOLDER / f"{workflow}.json").read_text(encoding="utf-8"))["nodes"]
    return [each["name"] for node in nodes for each in node["properties"].get("models", [])]


def test_a_task_downloads_its_files_and_an_open_one_lists_its_sizes(hub, capsys):
    assert main(["download", "ti2v"]) == 0
    assert downloaded() == {f"{known_file(name).kind.folder_name}/{name}" for name in files_of("ti2v_5B")}
    capsys.readouterr()
    assert main(["download", "i2v-a14b-FP8-4steps", "--dry-run"]) == 0
    assert "i2v-A14B-fp8-4steps: 6 files" in capsys.readouterr().out
    asked = len(hub.asked)
    assert main(["download", "i2v"]) == 1
    err = capsys.readouterr().err
    assert "stands for several tasks: i2v-14B-480p (" in err and "i2v-A14B-fp8-4steps (" in err and err.count("\n") == 1
    assert len(hub.asked) == asked


def test_several_names_are_one_set(hub, capsys):
    assert main(["download", "t2v_1.3B", "wan_2.1_vae", "vace-1.3B"]) == 0
    assert "t2v_1.3B, wan_2.1_vae.safetensors, vace-1.3B: 4 files" in capsys.readouterr().out
    assert len(hub.sent) == 4


def test_a_near_miss_of_a_task_or_a_workflow_is_suggested(hub, capsys):
    assert main(["download", "i2v-A14B-fp9"]) == 1
    assert "Did you mean i2v-A14B-fp8" in capsys.readouterr().err
    assert main(["download", "nowhere/t2v.json"]) == 1
    assert "There is no workflow file nowhere/t2v.json" in capsys.readouterr().err


def test_one_that_fails_does_not_lose_the_others(hub, capsys):
    hub.errors = [(0, {}), (0, {}), GATED]  # the first file comes, the second is refused
    assert main(["download", "i2v_14B_480p"]) == 1
    out, err = capsys.readouterr()
    assert len(downloaded()) == 3 and len([line for line in out.splitlines() if line.startswith("models")]) == 3
    refusal, summary = [line for line in err.splitlines() if not line.startswith("Downloading ")]
    (lost,) = {Path(each).name for each in I2V - downloaded()}
    assert lost in refusal and "asks for its licence to be accepted" in refusal
    assert summary == (
        f"wan-director: 1 of 4 files could not be downloaded ({lost}). What came stays: run it again to go on."
    )
    assert main(["download", "i2v_14B_480p"]) == 0
    assert downloaded() == I2V and len(hub.sent) == 4


def test_what_was_interrupted_is_listed_and_goes_on(hub, capsys):
    hub.cuts = [1000] + [0] * 5
    assert main(["download", "t2v_1.3B"]) == 1
    assert main(["download", "t2v_1.3B", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "  begun       4.1 kB" in out and "(1.0 kB are here)" in out and "To download: 3.1 kB" in out
    assert main(["download", "t2v_1.3B"]) == 0
    assert hub.asked[-1][1] == "bytes=1000-" and len(downloaded()) == 3


def test_the_sum_is_compared_with_what_is_free_before_anything_is_fetched(hub, capsys, monkeypatch):
    usage = shutil.disk_usage(".")
    free = 1_000_000_000 + len(DATA) * 3  # enough for three of four
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage._replace(free=free))
    for options in ([], ["--dry-run"]):
        assert main(["download", "i2v_14B_480p", *options]) == 1
        err = capsys.readouterr().err
        assert (
            "The missing files need 1.0 GB on the disk of models/" in err and "which has 1.0 GB free. Make room" in err
        )
        assert err.count("\n") == 1 and hub.sent == []
    assert main(["download", "t2v_1.3B"]) == 0
    assert main(["download", "i2v_14B_480p"]) == 0, "what is there already takes no more room"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_each_disk_is_weighed_by_itself(hub, capsys, monkeypatch, tmp_path, tmp_path_factory):
    other = Path("/dev/shm") / f"wan_director_{os.getpid()}"
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    folders = ("diffusion_models", "text_encoders", "clip_vision")
    sections = {"mine": {**{each: str(tmp_path / each) for each in folders}, "vae": str(other)}}
    Path("paths.yaml").write_text(yaml.safe_dump(sections))
    usage, need = shutil.disk_usage("."), 1_000_000_000
    free = {tmp_path.stat().st_dev: need + 3 * len(DATA), Path("/dev/shm").stat().st_dev: need + len(DATA)}

    def disk_usage(place):
        return usage._replace(free=free[Path(place).stat().st_dev])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    command = ["download", "i2v_14B_480p", "--extra-model-paths", "paths.yaml", "--dry-run"]
    assert main(command) == 0
    free[Path("/dev/shm").stat().st_dev] -= 1
    assert main(command) == 1
    err = capsys.readouterr().err
    assert f"on the disk of {other}, which" in err and "and" not in err.split("free")[0]


def _options(tmp_path: Path) -> dict[str, tuple[list[str], dict[str, Path]]]:
    (tmp_path / "my models").mkdir()
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    section = {"base_path": str(tmp_path / "disk"), "vae": "v", "text_encoders": "t", "model_patches": "p"}
    (tmp_path / "paths.yaml").write_text(yaml.safe_dump({"mine": section}))
    comfyui, disk = tmp_path / "ComfyUI", tmp_path / "disk"
    names = ("vae", "text_encoders", "model_patches")
    return {
        "models": (["--models", "my models"], {name: Path("my models", name) for name in names}),
        "comfyui": (["--comfyui", str(comfyui)], {name: comfyui / "models" / name for name in names}),
        "extra": (["--extra-model-paths", "paths.yaml"], {name: disk / section[name] for name in names}),
    }


@pytest.mark.parametrize("given", ["models", "comfyui", "extra"])
def test_files_go_where_run_or_comfyui_looks_whatever_their_kind(given, hub, tmp_path):
    options, folders = _options(tmp_path)[given]
    (folders["vae"]).mkdir(parents=True)
    (folders["vae"] / "wan_2.1_vae.safetensors").write_bytes(DATA)
    assert main(["download", "t2v_1.3B", *options]) == 0
    assert len(hub.sent) == 2 and (folders["text_encoders"] / "umt5_xxl_fp16.safetensors").read_bytes() == DATA
    assert main(["download", write(loader("patch.safetensors", offer("patch.safetensors"))), *options]) == 0
    assert (folders["model_patches"] / "patch.safetensors").read_bytes() == DATA


def test_the_folder_of_one_file_is_refused_for_several(hub, capsys):
    assert main(["download", "t2v_1.3B", "--to", "here"]) == 1
    assert "--to is the folder of one file, and these are 3" in capsys.readouterr().err and hub.asked == []


@needs_templates
@pytest.mark.parametrize("name", ["video_wan2_2_14B_i2v", "video_wan_animate2", "video_wan2_1_infinitetalk"])
def test_a_template_of_comfyui_brings_what_its_nodes_load(name, hub, capsys):
    text = template(name).read_text(encoding="utf-8")
    offered: dict[str, dict] = {}

    def find(value: object) -> None:
        if isinstance(value, dict):
            models = value.get("properties", {}).get("models") if isinstance(value.get("properties"), dict) else None
            offered.update({each["name"]: each for each in models or [] if value.get("mode", 0) == 0})
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            find(each)

    find(json.loads(text))
    assert main(["download", str(template(name))]) == 0, capsys.readouterr().err
    assert downloaded() <= {f"{each['directory']}/{each['name']}" for each in offered.values()}
    assert len(downloaded()) >= 4 and all(name in text for name in map(os.path.basename, downloaded()))
    if name == "video_wan2_2_14B_i2v":
        assert {Path(each).name for each in downloaded()} == set(offered)


def test_the_size_of_a_file_that_only_its_publisher_knows_is_asked(hub, capsys):
    graph = write(loader("patch.safetensors", offer("patch.safetensors")))
    assert main(["download", graph, "--dry-run"]) == 0
    assert "missing     4.1 kB" in capsys.readouterr().out and [each[0] for each in hub.asked] == ["HEAD"]
    hub.errors = [(404, {})]
    assert main(["download", graph, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "missing          ?" in out and "0 bytes and a file whose size nobody tells" in out
    hub.content = lambda data: data[:-100] + bytes(100)
    assert main(["download", graph]) == 1
    assert "its contents differ (sha256)" in capsys.readouterr().err and downloaded() == set()


@pytest.mark.parametrize(
    "entry",
    [
        offer("x.safetensors", url="https://example.org/Owner/Repo/resolve/main/x.safetensors"),
        offer("x.safetensors", url="https://huggingface.co.example.org/Owner/Repo/resolve/main/x.safetensors"),
        offer("x.safetensors", url="file:///etc/passwd"),
        offer("x.safetensors", directory="../custom_nodes"),
        offer("x.safetensors", directory="/tmp"),
        offer("../x.safetensors"),
        {"name": "x.safetensors"},
    ],
)
def test_an_offer_that_leads_elsewhere_is_not_followed(entry, hub, capsys):
    assert main(["download", write(loader("x.safetensors", entry))]) == 1
    out, err = capsys.readouterr()
    assert "unknown" in out and "Where to get x.safetensors of SomeLoader (node 7) is not known here" in err
    assert hub.asked == [] and not Path("models").exists()


def test_names_that_lead_out_of_the_models_folders_and_python_files_are_passed_over(hub):
    for name in ("../x.safetensors", "/x.safetensors", "x.py", 7, None):
        assert main(["download", write(loader(name, offer("x.safetensors"), offer("x.py")))]) == 0
    assert hub.asked == []


def test_what_a_muted_node_loads_is_not_brought_nor_what_a_node_only_offers(hub):
    both = (offer("a.safetensors"), offer("b.safetensors"))
    assert main(["download", write(loader("a.safetensors", *both))]) == 0
    assert downloaded() == {"model_patches/a.safetensors"}
    for mode in (2, 4):
        assert main(["download", write(loader("b.safetensors", *both, mode=mode))]) == 0
    assert downloaded() == {"model_patches/a.safetensors"}


def test_a_name_with_a_folder_goes_into_that_folder(hub):
    assert main(["download", write(loader("Wan\\a.safetensors", offer("a.safetensors", directory="unet")))]) == 0
    assert downloaded() == {"diffusion_models/Wan/a.safetensors"}


@pytest.mark.parametrize("content", [b"12345678", DATA[:-1]])
def test_a_stump_is_replaced_and_another_model_is_refused_while_the_others_come(content, hub, capsys):
    target = Path("models/vae/wan_2.1_vae.safetensors")
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    assert main(["download", "t2v_1.3B", "--dry-run"]) == 0
    assert "unfit" in capsys.readouterr().out
    assert main(["download", "t2v_1.3B"]) == 0
    assert target.read_bytes() == DATA and len(downloaded()) == 3


def test_a_known_file_of_another_size_is_refused_while_the_others_come(hub, capsys, monkeypatch):
    pinned = tuple(
        file._replace(sha256="0" * 64) if file.name == "wan_2.1_vae.safetensors" else file
        for file in known_files.KNOWN_FILES
    )
    monkeypatch.setattr(known_files, "KNOWN_FILES", pinned)
    target = Path("models/vae/wan_2.1_vae.safetensors")
    target.parent.mkdir(parents=True)
    other = save({"w": torch.zeros(7)})
    target.write_bytes(other)
    assert main(["download", "t2v_1.3B"]) == 1
    err = capsys.readouterr().err
    assert "but not the one that Comfy-Org/Wan_2.1_ComfyUI_repackaged publishes" in err and "1 of 3 files" in err
    assert target.read_bytes() == other and len(downloaded()) == 3


WORKFLOWS = Path(__file__).parents[3] / "workflows"
REAL = sorted(path.stem for path in WORKFLOWS.glob("*.json") if not path.stem.startswith("tiny_"))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("form", ["name", "canvas", "api"])
def test_every_workflow_without_its_files_names_what_gets_them_all(name, form, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = {"name": name, "canvas": WORKFLOWS / f"{name}.json", "api": WORKFLOWS / "api" / f"{name}.json"}[form]
    assert main(["run", str(given), "--device", "cpu", "--quiet"]) == 1
    err = capsys.readouterr().err.strip()
    found, _, command = err.rpartition("all at once: ")
    assert shlex.split(command.removesuffix(")")) == ["wan-director", "download", str(given)]
    count = len(wanted_models(WORKFLOWS / f"{name}.json", {**CORE_NODES, **NODE_CLASS_MAPPINGS}))
    assert count > 1 and found.endswith(f"({count} files are missing; ")


@pytest.mark.parametrize("given", ["default", "models", "comfyui", "extra"])
def test_a_run_that_lacks_files_names_the_command_that_gets_them_all(given, hub, tmp_path, capsys):
    options, _ = {"default": ([], {}), **_options(tmp_path)}[given]
    run = ["run", "t2v_14B_lora_4_steps", "--quiet", *options]
    assert main(run) == 1
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0 and err.endswith(")")
    found, _, command = err.rpartition("all at once: ")
    assert "4 files are missing" in found
    assert main(shlex.split(command.removesuffix(")"))[1:]) == 0
    capsys.readouterr()
    assert main(run) == 1  # the files are there now, and no models
    assert "missing" not in capsys.readouterr().err
