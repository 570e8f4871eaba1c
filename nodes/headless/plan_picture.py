"""A plan as a small picture of bars, for the canvas."""

from __future__ import annotations

from typing import Any

from ...memory.budget import gigabytes
from ..api import io, ui
from ..hosts.host import host
from .plan import Plan, PlannedStage

SIZE = (420, 46)
"""Pixels of one stage's part of the picture."""
_BACKGROUND, _TEXT, _EMPTY = (32, 32, 32), (220, 220, 220), (64, 64, 64)
_WEIGHTS, _WORKING, _TOO_MUCH, _LIMIT = (86, 156, 214), (120, 190, 120), (214, 90, 80), (240, 200, 80)


def draw(plan: Plan) -> Any:
    """The picture, a PIL image: for each stage a bar of its weights and of what it takes beside them."""
    from PIL import Image, ImageDraw

    width, height = SIZE
    picture = Image.new("RGB", (width, height * len(plan.stages) + 8), _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for number, planned in enumerate(plan.stages):
        _draw_stage(pen, planned, plan.scale_bytes, top=8 + number * height)
    return picture


def saved_picture(plan: Plan) -> list[Any]:
    """Saves the picture among the host's temporary files; what the canvas needs to show it."""
    folder = host().preview_folder()
    if folder is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    taken = len(list(folder.glob("wan_director_plan_*.png")))
    name = f"wan_director_plan_{taken + 1:05}_.png"
    draw(plan).save(folder / name)
    return [ui.SavedResult(name, "", io.FolderType.temp)]


def _draw_stage(pen: Any, planned: PlannedStage, scale_bytes: int, *, top: int) -> None:
    width = SIZE[0] - 16
    choice = planned.choice
    taken = 0 if planned.stage.is_on_cpu else choice.device_bytes
    scale = width / scale_bytes
    words = "on the CPU" if planned.stage.is_on_cpu else f"{gigabytes(taken)} of {gigabytes(planned.limit)}"
    if choice.swapped and taken:
        words += f", {choice.swapped} of {len(choice.task.block_bytes)} blocks swapped"
    if choice.way.number > 1 and taken and not choice.task.block_bytes:
        words += f", {choice.way.number} strips"
    pen.text((8, top), f"{choice.task.name}: {words}", fill=_TEXT)
    bar_top, bar_end = top + 16, top + 34
    pen.rectangle((8, bar_top, 8 + width, bar_end), fill=_EMPTY)
    if taken:
        middle, end = 8 + choice.weight_bytes * scale, 8 + taken * scale
        pen.rectangle((8, bar_top, middle, bar_end), fill=_WEIGHTS)
        pen.rectangle((middle, bar_top, end, bar_end), fill=_WORKING if planned.fits else _TOO_MUCH)
    limit = 8 + min(planned.limit * scale, width)
    pen.line((limit, bar_top - 2, limit, bar_end + 2), fill=_LIMIT, width=2)
