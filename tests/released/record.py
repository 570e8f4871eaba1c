"""What was released: the workflows, the interface of the nodes, and frames of the bundled model, one folder a release.

`python tests/released/record.py NAME` adds today's: the workflows that are new or changed since the last release, and
`frames/` of the bundled ones among them, which run for it. A folder is never changed again.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
BUNDLED_FILES = frozenset(path.name for path in (ROOT / "models").rglob("*.safetensors"))
SAVERS = ("WanDirectorSaveVideo", "WanDirectorDecodeToVideo")
_WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
_KEPT = ("default", "min", "max", "round", "control_after_generate")
EVERY = 4
"""Of so many frames one is kept."""


def releases() -> list[Path]:
    """The folders of all releases, the oldest first."""
    folders = [path for path in FOLDER.iterdir() if (path / "interface.json").is_file()]
    return sorted(folders, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def workflow_files(folder: Path) -> list[Path]:
    """The workflows in a folder, in the canvas's format; `api/` beside them holds the server's."""
    return sorted(path for path in folder.glob("*.json") if path.name != "interface.json")


def interface(information: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What saved graphs rely on, from what the server tells of each node."""
    return {id: _node(told) for id, told in information.items()}


def todays_interface() -> dict[str, Any]:
    """The interface of the nodes as they are."""
    return interface({id: node.GET_NODE_INFO_V1() for id, node in NODE_CLASS_MAPPINGS.items()})


def _node(told: Mapping[str, Any]) -> dict[str, Any]:
    groups = [(name, group) for group in ("required", "optional") for name in told["input"].get(group, {})]
    return {
        "inputs": {name: _input(told["input"][group][name], optional=group == "optional") for name, group in groups},
        "outputs": [list(pair) for pair in zip(told["output"], told["output_name"])],
        "output_node": told["output_node"],
    }


def _input(spec: Iterable[Any], *, optional: bool) -> dict[str, Any]:
    kind, options = (*spec, {})[:2]
    kept = {name: options[name] for name in _KEPT if name in options}
    if options.get("image_upload") or options.get("video_upload"):
        kept["upload"] = True
    if kind == "COMBO":  # model files come and go
        kept["choices"] = [choice for choice in options.get("options", []) if choice not in BUNDLED_FILES]
    return {"type": kind, **({"optional": True} if optional else {}), **kept}


def widgets(node: Mapping[str, Any]) -> list[str]:
    """The values of a node of the interface in the order in which the canvas saves them."""
    names = []
    for optional in (False, True):
        group = {name: spec for name, spec in node["inputs"].items() if spec.get("optional", False) is optional}
        for name, spec in group.items():
            if spec["type"] in _WIDGETS:
                names += [name, "control_after_generate"] if spec.get("control_after_generate") else [name]
        if any("upload" in spec for spec in group.values()):  # the canvas adds a button to the group
            names.append("upload")
    return names


def not_recorded(changelog: str) -> list[str]:
    """The versions with a heading in a changelog that have no folder."""
    versions = re.findall(r"^## \[?v?(\d[\w.]*)", changelog, re.MULTILINE)
    return [version for version in versions if version not in {folder.name for folder in releases()}]


def frames_of(workflow: Path, *more: str) -> np.ndarray:
    """Runs a workflow with a bundled model on the CPU, and gives its frames: [F, H, W, 3], uint8."""
    prompt = json.loads((workflow.parent / "api" / workflow.name).read_text(encoding="utf-8"))
    (saver,) = [id for id, node in prompt.items() if node["class_type"] in SAVERS]
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", str(workflow), f"--output={folder}", "--device=cpu", "--quiet", *more]
        if main([*command, f"--set={saver}.format=png frames"]) != 0:
            raise RuntimeError(f"{workflow} does not run.")
        return np.stack([_pixels(path) for path in sorted(Path(folder).rglob("*.png"))])


def kept_frames(path: Path) -> np.ndarray:
    """The frames of a recorded picture, which lie side by side: [F, H, W, 3], uint8."""
    pixels = _pixels(path)
    return np.stack(np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _as_released(name: str) -> bytes | None:
    """A file of the newest release that has it."""
    return next(((each / name).read_bytes() for each in reversed(releases()) if (each / name).is_file()), None)


def _changed(today: Path) -> list[str]:
    """The workflows in a folder that are not as released, in either format."""
    return [
        path.name
        for path in workflow_files(today)
        if any((today / each).read_bytes() != _as_released(each) for each in (path.name, f"api/{path.name}"))
    ]


def _written(information: Mapping[str, Any]) -> str:
    nodes = [f" {json.dumps(id)}: {json.dumps(node, ensure_ascii=False)}" for id, node in information.items()]
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def add(name: str) -> Path:
    """Writes the folder of a release, and gives it."""
    folder, today = FOLDER / name, ROOT / "workflows"
    if not re.fullmatch(r"\d[\w.]*", name):
        raise SystemExit(f"'{name}' is no version such as 0.2.0. Give that of the release.")
    if (folder / "interface.json").exists():
        raise SystemExit(f"{folder} is there: a release is never changed. Give the name of a new one.")
    changed = _changed(today)
    for each in changed:
        for relative in (each, f"api/{each}"):
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).write_bytes((today / relative).read_bytes())
    for path in sorted(today.glob("tiny_*.json")):
        if path.name in changed:
            (folder / "frames").mkdir(exist_ok=True)
            sheet = np.concatenate(list(frames_of(path)[::EVERY]), axis=1)
            Image.fromarray(sheet).save(folder / "frames" / f"{path.stem}.png", optimize=True)
    folder.mkdir(exist_ok=True)
    (folder / "interface.json").write_text(_written(todays_interface()), encoding="utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help="the release's version, such as 0.2.0")
    print(add(parser.parse_args().name))
