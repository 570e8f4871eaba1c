"""Where the nodes and groups of the example workflows stand, so that nothing overlaps in either renderer of ComfyUI.

    python tests/workflows/layout.py [workflow.json ...]

puts the nodes of the named workflows (of all, when none is named) into their places: which column of which group a node
belongs to, and in which order, is read from where it stands now. A node gets the room that the taller of the two
renderers needs, folded inputs unfolded, with the preview that it shows while or after it runs (`node_sizes.json`).
Loaders change places in their column, and the room that is left in one goes between its nodes, where fewer wires then
pass behind nodes.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from pathlib import Path
from typing import Any

if __package__:
    from .wires import APART, Box, Node, lead_around, passed
else:
    from wires import APART, Box, Node, lead_around, passed

HERE = Path(__file__).resolve().parent
WORKFLOWS = HERE.parents[1] / "workflows"
SIZES = json.loads((HERE / "node_sizes.json").read_text(encoding="utf-8"))

TITLE = 30
"""Height of a node's title, which lies above its position."""
GROUP_TITLE = 46
"""From the top of a group to the top of its first node's title."""
BADGE = 40
"""Between two nodes: room for the badge that the classic renderer draws above a title, and a margin."""
PADDING = 16
BETWEEN_COLUMNS, BETWEEN_GROUPS = 56, 30
NOTE_COLOR, NOTE_GROUND = "#332", "#21210f"
"""In both renderers and both themes the texts on it have a contrast of 4.5 at least; Nodes 2.0 makes them grey."""
FILLING = (
    "MarkdownNote", "PreviewImage", "SaveImage", "WanDirectorSaveVideo", "WanDirectorDecodeToVideo",
    "WanDirectorLongVideo", "WanDirectorStreamVideo",
)  # fmt: skip
"""What takes the rest of its column: notes, and the nodes that show the finished video or picture."""
WORDS = 64
"""What Nodes 2.0 adds below a node while it says in words how far it is."""
SAYING = {
    "WanDirectorAnimate",
    "WanDirectorAudioEncode",
    "WanDirectorClipVisionEncode",
    "WanDirectorDancePart",
    "WanDirectorDancer",
    "WanDirectorDataset",
    "WanDirectorDecode",
    "WanDirectorEditPicture",
    "WanDirectorEncode",
    "WanDirectorExtend",
    "WanDirectorFetch",
    "WanDirectorFunControl",
    "WanDirectorHumo",
    "WanDirectorImageToVideo",
    "WanDirectorInfiniteTalk",
    "WanDirectorKeyframe",
    "WanDirectorLoadClipVision",
    "WanDirectorLoadAudioEncoder",
    "WanDirectorLoadModel",
    "WanDirectorLoadTextEncoder",
    "WanDirectorLoadVAE",
    "WanDirectorLoadVideo",
    "WanDirectorMotion",
    "WanDirectorBatchPrompts",
    "WanDirectorEnhancePrompt",
    "WanDirectorPhantom",
    "WanDirectorPrepareClips",
    "WanDirectorPromptTravel",
    "WanDirectorScail",
    "WanDirectorSourceVideo",
    "WanDirectorSpeechToVideo",
    "WanDirectorSubmit",
    "WanDirectorTextEncode",
    "WanDirectorTrainLora",
    "WanDirectorVace",
}
"""Nodes that do so where nothing else that they show leaves room for it."""
MOST_TO_TRY = 5
"""Loaders in a column whose every order is tried."""
MOST_LANES = 8
"""Wires more that are led between two groups below one another."""
VIEW = (1754, 930, 1904, 1120)
"""Width and height that the view shows at first, and those of the window around it."""
SMALLEST = 0.572
"""Scale at which the front end still draws texts; of what is too large for it, the view shows the beginning."""


def height_of(node: Node, name: str) -> int:
    """The room that a node of the workflow `name` takes, with its title, in the renderer that needs more."""
    own = node["size"][1] + TITLE
    if node["type"] == "MarkdownNote":
        return max(SIZES["notes"].get(name) or note_height(node["widgets_values"][0], node["size"][0]), own)
    recorded = SIZES["heights"].get(node["type"])
    words = WORDS if node["type"] in SAYING else 0
    return max(*recorded.values(), recorded["nodes_2"] + words, own) if recorded else max(rough_height(node), own)


def lowest(node: Node) -> int:
    """How low the classic renderer lets a node be, without its title."""
    recorded = SIZES["heights"].get(node["type"])
    return (recorded["classic"] if recorded else rough_height(node)) - TITLE


def rough_height(node: Node) -> int:
    """The room of a node whose heights are not recorded yet, rather too much."""
    widgets = sum("widget" in each for each in node.get("inputs", []))
    sockets = max(len(node.get("inputs", [])) - widgets, len(node.get("outputs", [])))
    return TITLE + 24 * sockets + 54 * widgets + 60


def note_height(text: str, width: int) -> int:
    """The room of a note whose height is not recorded yet, rather too much."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", text)
    lines = [line for line in plain.strip().split("\n") if not line.startswith("|-")]
    in_line = (width - 30) / 5.2
    return 40 + sum(
        52 if line.startswith("|") else 34 if line.startswith("#") else 16 * math.ceil(len(line) / in_line) or 10
        for line in lines
    )


def box_of(node: Node, name: str) -> Box:
    """x, y, width and height of that room."""
    x, y = node["pos"]
    return x, y - TITLE, node["size"][0], height_of(node, name)


def is_inside(node: Node, group: Node) -> bool:
    """Whether a node belongs to a group: its corner lies in it."""
    x, y, width, height = group["bounding"]
    return x <= node["pos"][0] <= x + width and y <= node["pos"][1] <= y + height


@dataclass
class Column:
    """Nodes that stand below one another; the room that is left in the column follows the node of a number."""

    nodes: list[Node]
    name: str
    room_after: int = -1

    @property
    def width(self) -> int:
        return max(node["size"][0] for node in self.nodes)

    @property
    def height(self) -> int:
        return sum(height_of(node, self.name) for node in self.nodes) + BADGE * (len(self.nodes) - 1)

    def notice_room(self) -> None:
        """Finds after which node the room is left now."""
        for number, (node, following) in enumerate(zip(self.nodes, self.nodes[1:])):
            if following["pos"][1] - node["pos"][1] > height_of(node, self.name) + BADGE:
                self.room_after = number

    def lower(self) -> None:
        """Makes each node as low as the classic renderer allows, so that only its content counts."""
        for node in self.nodes:
            if node["type"] in FILLING:
                node["size"][1] = 0
            elif node["type"] != "WanDirectorTextEncode":
                node["size"][1] = lowest(node)

    def place(self, x: int, top: int, bottom: int) -> None:
        """Puts the nodes below one another from `top` on; the last one reaches `bottom` if it can use the room."""
        room = bottom - top - self.height
        for number, node in enumerate(self.nodes):
            node["pos"] = [x, top + TITLE]
            if node is self.nodes[-1] and node["type"] in FILLING:
                node["size"][1] = bottom - top - TITLE
            top += height_of(node, self.name) + BADGE + (room if number == self.room_after else 0)


@dataclass
class Group:
    """A group of the canvas with the columns of nodes in it."""

    saved: Node
    columns: list[Column]

    @property
    def width(self) -> int:
        columns = sum(column.width for column in self.columns) + BETWEEN_COLUMNS * (len(self.columns) - 1)
        return columns + 2 * PADDING

    @property
    def height(self) -> int:
        return GROUP_TITLE + max(column.height for column in self.columns) + PADDING

    def place(self, x: int, y: int, width: int, height: int) -> None:
        self.saved["bounding"] = [x, y, width, height]
        x += PADDING
        for column in self.columns:
            column.place(x, y + GROUP_TITLE, y + height - PADDING)
            x += column.width + BETWEEN_COLUMNS


def arrange(workflow: Node, name: str) -> None:
    """Puts the nodes and groups of a workflow into their places."""
    for key in ("reroutes", "linkExtensions"):
        workflow["extra"].pop(key, None)
    stacks, notes = structure_of(workflow, name)
    place(workflow, stacks, notes)
    columns = [column for stack in stacks for group in stack for column in group.columns]
    is_better = True
    while is_better:
        is_better = (
            sum(improve(column, lambda: place(workflow, stacks, notes), workflow, name) for column in columns) > 0
        )
    for lanes in range(MOST_LANES):
        width, height = place(workflow, stacks, notes, lanes)
        if lead_around(workflow, boxes_of(workflow, name)):
            heights = [0, height, *(point["pos"][1] for point in workflow["extra"].get("reroutes", []))]
            workflow["extra"]["ds"] = view_of(width, min(heights), max(heights))
            return
    raise ValueError(f"The wires of {name} find no way around the nodes: move some, or leave more room.")


def structure_of(workflow: Node, name: str) -> tuple[list[list[Group]], Column]:
    """The groups below and beside one another, and the notes at the left."""
    groups = [Group(saved, list(columns_in(saved, workflow["nodes"], name))) for saved in workflow["groups"]]
    free = [node for node in workflow["nodes"] if not any(is_inside(node, group) for group in workflow["groups"])]
    notes = Column(free, name)
    for column in (notes, *(column for group in groups for column in group.columns)):
        column.lower()
        column.notice_room()
    for note in free:
        note["color"], note["bgcolor"] = NOTE_COLOR, NOTE_GROUND
    return stacks_of(groups), notes


def place(workflow: Node, stacks: Sequence[Sequence[Group]], notes: Column, lanes: int = 0) -> tuple[int, int]:
    """Gives everything its place, from left to right; between groups below one another there is room for lanes.

    Gives the width and height that nodes and groups take.
    """
    between = BETWEEN_GROUPS + lanes * APART
    for column in (notes, *(column for stack in stacks for group in stack for column in group.columns)):
        column.lower()
    height = max([notes.height + GROUP_TITLE + PADDING, *(height_of_stack(stack, between) for stack in stacks)])
    notes.place(PADDING, GROUP_TITLE, height - PADDING)
    x = 2 * PADDING + notes.width + BETWEEN_GROUPS
    for stack in stacks:
        width, y = max(group.width for group in stack), 0
        for group in stack:
            own = height - y if group is stack[-1] else group.height
            group.place(x, y, width, own)
            y += own + between
        x += width + BETWEEN_GROUPS
    return x - BETWEEN_GROUPS, height


def improve(column: Column, place_all: Callable[[], object], workflow: Node, name: str) -> bool:
    """Tries other orders in a column; whether one was found with which fewer wires pass behind nodes."""
    nodes, room_after = list(column.nodes), column.room_after
    before = best = (len(passed(workflow, boxes_of(workflow, name))), 0, 0)
    choice = nodes, room_after
    # The order of other nodes than loaders tells how they follow one another.
    is_free = all("Load" in node["type"] for node in nodes) and len(nodes) <= MOST_TO_TRY
    orders = permutations(nodes) if is_free else [tuple(nodes)]
    for order in orders:
        moves = sum(node is not other for node, other in zip(order, nodes))
        for after in range(-1, len(nodes) - 1):
            column.nodes, column.room_after = list(order), after
            place_all()
            found = (len(passed(workflow, boxes_of(workflow, name))), moves, int(after != room_after))
            if found < best:
                best, choice = found, (column.nodes, after)
    column.nodes, column.room_after = choice
    place_all()
    return best < before


def boxes_of(workflow: Node, name: str) -> dict[int, Box]:
    """By id, the room of each node."""
    return {node["id"]: box_of(node, name) for node in workflow["nodes"]}


def columns_in(group: Node, nodes: Sequence[Node], name: str) -> Iterator[Column]:
    """The columns of a group from left to right, each from top to bottom."""
    inside = sorted((node for node in nodes if is_inside(node, group)), key=lambda node: node["pos"])
    for _x, column in groupby(inside, key=lambda node: node["pos"][0]):
        yield Column(list(column), name)


def stacks_of(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups that stand below one another, from left to right."""
    ordered = sorted(groups, key=lambda group: group.saved["bounding"][:2])
    return [list(stack) for _x, stack in groupby(ordered, key=lambda group: group.saved["bounding"][0])]


def height_of_stack(stack: Sequence[Group], between: int) -> int:
    """Of groups below one another."""
    return sum(group.height for group in stack) + between * (len(stack) - 1)


def view_of(width: int, top: int, bottom: int) -> dict[str, Any]:
    """Scale and place of the canvas at which all of it is seen, or its beginning."""
    height = bottom - top
    scale = max(SMALLEST, min(0.9, VIEW[0] / width, VIEW[1] / height))
    width, height = min(width, VIEW[0] / scale), min(height, VIEW[1] / scale)
    middle = ((VIEW[2] / scale - width) / 2, (VIEW[3] / scale - height) / 2 - top)
    return {"scale": round(scale, 3), "offset": [round(each, 3) for each in middle]}


def faults_of(workflow: Node, name: str) -> list[str]:
    """What overlaps, and which nodes stick out of their group, in the renderer that needs more room."""
    nodes = [(node.get("title") or node["type"], box_of(node, name), node) for node in workflow["nodes"]]
    faults = [
        f"{a} covers {b}" for i, (a, box, _) in enumerate(nodes) for b, other, _ in nodes[:i] if overlap(box, other)
    ]
    for group in workflow["groups"]:
        x, y, width, height = group["bounding"]
        for title, (left, top, wide, high), node in nodes:
            if is_inside(node, group) and (left < x or top < y or left + wide > x + width or top + high > y + height):
                faults.append(f"{title} sticks out of {group['title']}")
    return faults


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes [x, y, width, height] cover each other."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def main(paths: Sequence[str]) -> None:
    for path in [Path(path) for path in paths] or sorted(WORKFLOWS.glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        arrange(workflow, path.stem)
        path.write_text(json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
