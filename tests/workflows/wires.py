"""How the canvas draws wires, which nodes they pass behind, and reroute points that lead them around.

A wire is a spline from an output to an input. Where it would pass behind a node, it is led through reroute points of
its own (`extra.reroutes` of a workflow; neither the graph nor what is queued knows of them): up or down in the gap
beside its source, along a lane where no node stands, and to its target in the gap before that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

Node = dict[str, Any]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

SOCKET = 20
"""From one socket of a node to the next."""
STEPS = 24
"""Points that are looked at on a piece of a wire."""
MOST_BEND = 80
"""What the control point of a spline is at most away from a reroute point."""
CLEAR = 16
"""Between a lane and a node: the point drawn on it has a radius of 10."""
MARGIN, SHIFT = 6, 16
"""Between a wire that is led around and a node, and how much higher or lower one of the two renderers draws sockets."""
LONG, SWING = 450, 3
"""From what height on a wire that goes up or down in one swing needs how much more room beside it."""
APART = 24
"""Between two lanes, or two upright pieces of wires."""
PARTS = (0.5, 0.3, 0.7, 0.2, 0.8)
"""Where in a gap an upright piece may stand."""
FOR_A_POINT, FOR_A_CROSSING, FOR_A_CLOSE_WAY = 60, 40, 500
"""How much longer a wire may be for a reroute point less, a wire that it does not cross, or does not lie beside."""
GROUP_TITLE_TEXT = 38
"""Height of the bar with a group's title, in which no lane runs."""


class Wire(NamedTuple):
    """A link of a workflow: its id, the node and output it leaves, the node and input it leads to."""

    id: int
    source: int
    output: int
    target: int
    input: int


def wires_of(workflow: Node) -> list[Wire]:
    """All links of a workflow."""
    return [Wire(*link[:5]) for link in workflow["links"]]


def ends(workflow: Node, wire: Wire) -> tuple[Point, Point]:
    """Where a wire leaves its source and arrives at its target."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    source, target = nodes[wire.source], nodes[wire.target]
    sockets = [each for each in target["inputs"] if "widget" not in each]
    own = target["inputs"][wire.input]
    row = sockets.index(own) if own in sockets else len(sockets)
    start = source["pos"][0] + source["size"][0], source["pos"][1] + SOCKET * (wire.output + 0.7)
    return start, (target["pos"][0], target["pos"][1] + SOCKET * (row + 0.7))


def curve(start: Point, through: Sequence[Point], end: Point) -> Iterator[Point]:
    """Points of a wire as the canvas draws it: cubic splines that leave and arrive horizontally.

    At a reroute point the direction is between those to the point before and to the one after it.
    """
    points = [start, *through, end]
    directions = [0.0, *(_direction(*three) for three in zip(points, points[1:], points[2:])), 0.0]
    pieces = list(zip(pairwise(points), pairwise(directions)))
    for number, (((x0, y0), (x3, y3)), (leaving, arriving)) in enumerate(pieces):
        whole = math.hypot(x3 - x0, y3 - y0) / 4
        first = whole if number == 0 else min(whole, MOST_BEND)
        last = whole if number == len(pieces) - 1 else min(whole, MOST_BEND)
        x1, y1 = x0 + first * math.cos(leaving), y0 + first * math.sin(leaving)
        x2, y2 = x3 - last * math.cos(arriving), y3 - last * math.sin(arriving)
        for step in range(STEPS + 1):
            t = step / STEPS
            a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
            yield a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3


def _direction(before: Point, here: Point, after: Point) -> float:
    arriving = math.atan2(here[1] - before[1], here[0] - before[0])
    leaving = math.atan2(after[1] - here[1], after[0] - here[0])
    half = (arriving - leaving) / 2
    return arriving - (half + math.pi if abs(half) > math.pi / 2 else half)


def behind(points: Sequence[Point], boxes: dict[int, Box], wire: Wire, margin: int = 0) -> list[int]:
    """The nodes that a wire passes behind, or nearer than a margin, by their ids; its own two where it goes far in."""
    found = []
    across, down = [x for x, _y in points], [y for _x, y in points]
    left, right, top, bottom = min(across), max(across), min(down), max(down)
    for id, (x, y, width, height) in boxes.items():
        edge = CLEAR - margin if id in (wire.source, wire.target) else -margin
        if x + edge >= right or x + width - edge <= left or y + edge >= bottom or y + height - edge <= top:
            continue
        if any(x + edge < px < x + width - edge and y + edge < py < y + height - edge for px, py in points):
            found.append(id)
    return found


def passed(workflow: Node, boxes: dict[int, Box], margin: int = 0) -> list[tuple[int, int]]:
    """(wire, node) for each node that a wire passes behind, or nearer than a margin, by their ids."""
    through = points_of(workflow)
    found = []
    for wire in wires_of(workflow):
        start, end = ends(workflow, wire)
        points = list(curve(start, through.get(wire.id, ()), end))
        found += [(wire.id, id) for id in behind(points, boxes, wire, margin)]
    return found


def points_of(workflow: Node) -> dict[int, list[Point]]:
    """By wire, the reroute points that it is led through."""
    extra = workflow.get("extra", {})
    known = {point["id"]: point for point in extra.get("reroutes", [])}
    through = {}
    for link in extra.get("linkExtensions", []):
        points, point = [], known.get(link["parentId"])
        while point is not None:
            points.insert(0, tuple(point["pos"]))
            point = known.get(point.get("parentId"))
        through[link["id"]] = points
    return through


def lead_around(workflow: Node, boxes: dict[int, Box]) -> bool:
    """Gives reroute points to the wires that pass behind nodes, and takes them from all others.

    Gives whether there is a way for every one.
    """
    extra = workflow["extra"]
    extra.pop("reroutes", None)
    extra.pop("linkExtensions", None)
    wires = {wire.id: wire for wire in wires_of(workflow)}
    blocked = sorted(
        {id for id, _node in passed(workflow, boxes, MARGIN)}, key=lambda id: (_length(workflow, wires[id]), id)
    )
    drawn = {id: list(curve(*_parts(workflow, wire, ()))) for id, wire in wires.items() if id not in blocked}
    led: dict[int, list[Point]] = {}
    for id in blocked:
        way = _best_way(workflow, boxes, wires[id], list(drawn.values()), _of_other_outputs(led, wires, wires[id]))
        if not way:
            return False
        led[id] = way
        drawn[id] = list(curve(*_parts(workflow, wires[id], way)))
    if led:
        _write(extra, led)
    return True


def _rounded(point: Point) -> tuple[int, int]:
    return round(point[0]), round(point[1])


def _parts(workflow: Node, wire: Wire, through: Sequence[Point]) -> tuple[Point, Sequence[Point], Point]:
    start, end = ends(workflow, wire)
    return start, through, end


def _length(workflow: Node, wire: Wire) -> float:
    start, end = ends(workflow, wire)
    return math.dist(start, end)


def _of_other_outputs(led: dict[int, list[Point]], wires: dict[int, Wire], wire: Wire) -> list[list[Point]]:
    """The ways of wires from elsewhere, from which a way keeps apart; wires of one output may share theirs."""
    return [way for id, way in led.items() if wires[id][1:3] != wire[1:3]]


def _best_way(
    workflow: Node, boxes: dict[int, Box], wire: Wire, drawn: Sequence[Sequence[Point]], others: Sequence[list[Point]]
) -> list[Point]:
    """The shortest way around, in which a reroute point and a crossing count as a detour; empty: there is none."""
    start, end = ends(workflow, wire)

    def length_of(way: list[Point]) -> float:
        return sum(math.dist(a, b) for a, b in pairwise([start, *way, end])) + FOR_A_POINT * len(way)

    both = (0, -SHIFT, SHIFT)
    taken = {_rounded(point) for way in others for point in way}  # a point has one output: the canvas draws it so
    tries = ((1, MARGIN, both), (3, MARGIN, both), (3, 0, both), (3, MARGIN, (0,)), (3, 0, (0,)))
    for most, margin, shifts in tries:
        best, least = [], math.inf
        ways = sorted(_ways(workflow, boxes, (start, end), others, most), key=length_of)
        for way in ways:
            length = length_of(way)
            if length >= least:
                break
            if not taken.isdisjoint(map(_rounded, way)):
                continue
            points = list(curve(start, way, end))
            shifted = [list(curve((start[0], start[1] + by), way, (end[0], end[1] + by))) for by in shifts]
            swing = max(abs(start[1] - way[0][1]), abs(end[1] - way[-1][1]))
            room = margin + (round(SWING * swing / LONG) if swing > LONG else 0)
            if any(behind(each, boxes, wire, room) for each in shifted):
                continue
            length += FOR_A_CLOSE_WAY * _is_close(way, others)
            length += FOR_A_CROSSING * sum(_cross(points, other) for other in drawn)
            if length < least:
                best, least = way, length
        if best:
            return best
    return []


def _ways(
    workflow: Node, boxes: dict[int, Box], ends: tuple[Point, Point], others: Sequence[Sequence[Point]], most: int
) -> Iterator[list[Point]]:
    """Ways from an output to an input that may do: in one gap, or along a lane, upright at so many places at most."""
    start, end = ends
    out_gap, in_gap = _gap(boxes.values(), start[0], 1), _gap(boxes.values(), end[0], -1)
    outs = [start[0] + out_gap * part for part in PARTS]
    ins = [end[0] - in_gap * part for part in PARTS]
    down = math.copysign(1, end[1] - start[1])
    for x in outs if start[0] < end[0] else ():
        yield [(x, start[1] + down * APART), (x, end[1] - down * APART)]
        yield [(x, (start[1] + end[1]) / 2)]
    for y in _lanes(workflow, boxes.values(), *sorted((start[0], end[0]))):
        lefts = [x for x in outs if not _is_close([(x, start[1]), (x, y)], others)] or outs[:1]
        rights = [x for x in ins if not _is_close([(x, y), (x, end[1])], others)] or ins[:1]
        for left, right in product(lefts[:most], rights[:most]):
            if right <= left and start[0] < end[0]:
                continue
            near_start = (left, start[1] + math.copysign(APART, y - start[1]))
            near_end = (right, end[1] + math.copysign(APART, y - end[1]))
            yield [(left, y), (right, y)]
            yield [near_start, (left, y), (right, y)]
            yield [(left, y), (right, y), near_end]
            yield [near_start, (left, y), (right, y), near_end]


def _gap(boxes: Iterator[Box] | Any, x: float, side: int) -> float:
    """The width of the free strip beside x, at most that between two groups."""
    edges = [box[0] - x if side > 0 else x - box[0] - box[2] for box in boxes]
    return min([edge for edge in edges if edge > 0] + [62.0])


def _lanes(workflow: Node, boxes: Any, left: float, right: float) -> Iterator[float]:
    """Heights at which nothing stands between left and right."""
    taken = [(y - CLEAR, y + height + CLEAR) for x, y, width, height in boxes if x < right and x + width > left]
    for group in workflow["groups"]:
        x, y, width, height = group["bounding"]
        if x < right and x + width > left:
            taken += [(y - 8, y + GROUP_TITLE_TEXT), (y + height - 8, y + height + 8)]
    low = min(y for _x, y, _width, _height in boxes) - 8 * APART
    highest = max(y + height for _x, y, _width, height in boxes) + 8 * APART
    for first, last in [*sorted(taken), (highest, highest)]:
        if first > low:
            yield from (round(low + part * APART / 2) for part in range(int((first - low) / (APART / 2)) + 1))
            yield round((low + first) / 2)
        low = max(low, last)


def _is_close(way: Sequence[Point], others: Sequence[Sequence[Point]]) -> bool:
    """Whether a piece of a way lies on a piece of another."""
    pieces = [piece for other in others for piece in pairwise(other)]
    if any(_lie_together(*own, *piece) for own in pairwise(way) for piece in pieces):
        return True
    points = [point for other in others for point in other]
    return any(math.dist(point, other) < APART for point in way for other in points)


def _lie_together(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two level or two upright pieces lie on each other."""
    level = a[1] == b[1] and c[1] == d[1] and abs(a[1] - c[1]) < APART and _meet(a[0], b[0], c[0], d[0])
    return level or (a[0] == b[0] and c[0] == d[0] and abs(a[0] - c[0]) < APART / 2 and _meet(a[1], b[1], c[1], d[1]))


def _meet(a: float, b: float, c: float, d: float) -> bool:
    """Whether the stretch from a to b comes near that from c to d."""
    return max(min(a, b), min(c, d)) < min(max(a, b), max(c, d)) + APART


def _cross(a: Sequence[Point], b: Sequence[Point]) -> bool:
    """Whether two wires cross, by every third piece of them."""
    return any(_do_cross(*one, *other) for one in pairwise(a[::3]) for other in pairwise(b[::3]))


def _do_cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    def side(p: Point, q: Point, r: Point) -> bool:
        return (q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0])

    return side(a, c, d) != side(b, c, d) and side(a, b, c) != side(a, b, d)


def _write(extra: Node, led: dict[int, list[Point]]) -> None:
    """Puts the ways into a workflow; a point that several wires reach by the same way is one."""
    points: dict[tuple[Point, ...], Node] = {}
    for link, way in sorted(led.items()):
        for number in range(1, len(way) + 1):
            key = tuple(way[:number])
            above = {"parentId": points[key[:-1]]["id"]} if number > 1 else {}
            place = [round(each) for each in key[-1]]
            points.setdefault(key, {"id": len(points) + 1, "pos": place, "linkIds": [], **above})
            points[key]["linkIds"].append(link)
    extra["reroutes"] = list(points.values())
    extra["linkExtensions"] = [{"id": link, "parentId": points[tuple(way)]["id"]} for link, way in sorted(led.items())]
