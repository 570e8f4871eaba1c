"""The table of docs/templates.md: ComfyUI's own Wan templates, what there is for them here, and what the commands do.

    python -m wan_director.tests.nodes.headless.template_table

writes it, with the package comfyui-workflow-templates-json as it is installed: what `run` does not know and what `plan`
answers is found out by asking them, without any model file. That `run` makes what it takes is tested beside this file.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path

from wan_director import NODE_CLASS_MAPPINGS
from wan_director.__main__ import main
from wan_director.common.errors import GraphError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import read_graph

from ...model_loading.test_template_files import PACKAGE, wan_templates

PAGE = Path(__file__).resolve().parents[3] / "docs" / "templates.md"
BEGIN, END = "<!-- table: ", "<!-- end -->"
HEAD = """| opened | template | in ComfyUI, besides loaders, prompts, sampler and decoder | `run` | `plan` |
|---|---|---|---|---|"""
CLASSES = {**CORE_NODES, **NODE_CLASS_MAPPINGS}

IMAGE = ("WanDirectorImageToVideo",)
VACE = ("WanDirectorVace",)
FUN = ("WanDirectorFunControl",)
CAMERA = ("WanDirectorCameraPath", "WanDirectorFunControl")
NODES: dict[str, tuple[str, ...]] = {
    "video_wan2_2_14B_i2v": ("WanDirectorExperts", *IMAGE), "video_wan2_2_14B_flf2v": ("WanDirectorExperts", *IMAGE),
    "video_wan2_2_14B_t2v": ("WanDirectorExperts",), "video_wan2_2_5B_ti2v": IMAGE, "image_to_video_wan": IMAGE,
    "text_to_video_wan": ("WanDirectorEmptyLatent",), "wan2.1_flf2v_720_f16": IMAGE, "wan2.1_fun_inp": IMAGE,
    "video_wan2_2_14B_fun_inpaint": ("WanDirectorExperts", *IMAGE), "video_wan2_2_5B_fun_inpaint": IMAGE,
    "templates-6-key-frames": ("WanDirectorExperts", "WanDirectorLongVideo"),
    "templates_mjm_looped_restyler": ("WanDirectorExperts", *IMAGE),
    "video_wan_vace_inpainting": VACE, "video_wan_vace_14B_v2v": VACE, "video_wan_vace_outpainting": VACE,
    "video_wan_vace_14B_ref2v": VACE, "video_wan_vace_flf2v": VACE, "video_wan_vace_14B_t2v": VACE,
    "video_wan2_2_14B_fun_control": ("WanDirectorExperts", *FUN), "video_wan2_2_5B_fun_control": FUN,
    "wan2.1_fun_control": FUN, "video_wan2_2_14B_fun_camera": ("WanDirectorExperts", *CAMERA),
    "video_wan2.1_fun_camera_v1.1_14B": CAMERA, "video_wan2.1_fun_camera_v1.1_1.3B": CAMERA,
    "video_bernini_r_video_editing": ("WanDirectorExperts", "WanDirectorBernini"),
    "video_bernini_r_image_editing": ("WanDirectorExperts", "WanDirectorBernini"),
    "image_chrono_edit_14B": ("WanDirectorEditPicture",), "video_wan2.1_alpha_t2v_14B": ("WanDirectorDecodeRGBA",),
    "video_wan_animate2": ("WanDirectorAnimate2", "WanDirectorPoseCache"),
    "video_wan_animate2_distilled": ("WanDirectorAnimate2", "WanDirectorPoseCache"),
    "video_wan21_scail2_character_replacement": ("WanDirectorColouredMasks", "WanDirectorScail"),
    "video_wan21_scail2_character_replacement_int8": ("WanDirectorColouredMasks", "WanDirectorScail"),
    "video_wan2_2_14B_s2v": ("WanDirectorAudioEncode", "WanDirectorSpeechToVideo"),
    "video_wan2_1_infinitetalk": ("WanDirectorAudioEncode", "WanDirectorInfiniteTalk"),
    "video_humo": ("WanDirectorAudioEncode", "WanDirectorHumo"),
    "video_wan_dancer": ("WanDirectorDanceMusic", "WanDirectorDancePart", "WanDirectorDancer"),
    "video_causal_forcing_i2v": ("WanDirectorCausal", "WanDirectorCausalStart"),
    "video_wan_ati": ("WanTrackToVideo",), "video_wanmove_480p": ("WanMoveTrackToVideo",),
}  # fmt: skip
"""Template -> the nodes that its model needs more than any other, here; ComfyUI's own where those go before ours."""


def titles() -> dict[str, tuple[int, str]]:
    """Template -> how often it was opened and its title, as its package says."""
    index = json.loads((Path(PACKAGE.origin).parent / "templates" / "index.json").read_text(encoding="utf-8"))
    return {each["name"]: (each.get("usage") or 0, each["title"]) for group in index for each in group["templates"]}


def version() -> str:
    return metadata.version("comfyui-workflow-templates-json")


def row(name: str) -> str:
    """The line of a template, asked of the commands."""
    opened, title = titles()[name]
    nodes = ", ".join(_called(id) for id in NODES.get(name, ())) or "–"
    path = Path(PACKAGE.origin).parent / "templates" / f"{name}.json"
    unknown = _unknown(path)
    run = "yes" if not unknown else "no: " + ", ".join(f"*{kind}*" for kind in unknown)
    return f"| {opened:,} | {title} (`{name}`) | {nodes} | {run} | {'no' if unknown else _planned(path)} |"


def _called(id: str) -> str:
    if id not in NODE_CLASS_MAPPINGS:
        return f"ComfyUI's `{id}`"
    return f"*{NODE_CLASS_MAPPINGS[id].define_schema().display_name}*"


def _unknown(path: Path) -> list[str]:
    """The nodes that `run` does not know and that a result needs."""
    try:
        read_graph(path, CLASSES)
    except GraphError as error:
        sentence = str(error)
        one = re.search(r"is an? (\S+), which the command line does not know", sentence)
        kinds = [one[1]] if one else re.findall(r"(?:: |, )([^,:()]+) \(node ", sentence)
        if not kinds:
            raise
        return kinds
    return []


def _planned(path: Path) -> str:
    said = _plan(path)
    if said is None:
        return "yes"
    asked = re.search(r"Give it with --size, for example --size (\S+)", said)
    return "with `--size`" if asked and _plan(path, "--size", asked[1]) is None else f"no: {said}"


def _plan(path: Path, *options: str) -> str | None:
    """What `plan` refuses with, where there is no model file and no input; None where it plans."""
    out, err = StringIO(), StringIO()
    arguments = ["plan", str(path), "--vram", "24GB", "--ram", "64GB", *options]
    with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return None if code == 0 else err.getvalue().strip().splitlines()[-1].removeprefix("wan-director: ")


def _written() -> str:
    opened = titles()
    rows = [row(name) for name in sorted(wan_templates(), key=lambda name: (-opened[name][0], name))]
    return "\n".join([f"{BEGIN}comfyui-workflow-templates-json {version()} -->", HEAD, *rows, END])


def write() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + _written() + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(write())
