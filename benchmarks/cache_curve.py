"""The records of `benchmarks.caches` as a table and as a picture: speed against the detector's score.

python -m wan_director.benchmarks.cache_curve RECORDS... PICTURE.png
"""

from __future__ import annotations

import json
import math
import sys
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

WIDTH, HEIGHT, LEFT, TOP = 460, 330, 60, 40
COLOURS = {"none": "black", "easycache": "#1f77b4", "magcache": "#d62728", "teacache": "#2ca02c"}


class Point(NamedTuple):
    """A row: how many times as fast as no cache, attributes right in %, clips with all of them right in %, likeness to
    the clips without a cache in dB (infinite where they are the same), passes spared in %, clips."""

    name: str
    threshold: float
    speed: float
    score: float
    all_right: float
    likeness: float
    spared: float
    clips: int


def points(records: list[dict[str, Any]]) -> list[Point]:
    """Of each row; the first one is that without a cache."""
    grouped: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for record in records:
        grouped.setdefault((record["name"], record["threshold"]), []).append(record)
    plain = median(record["seconds"] for record in grouped["none", 0.0])
    found = []
    for (name, threshold), own in grouped.items():
        clips = list(chain.from_iterable(record["right"] for record in own))
        error = fmean(record["error"] for record in own)
        found.append(
            Point(
                name,
                threshold,
                plain / median(record["seconds"] for record in own),
                100 * fmean(chain.from_iterable(clips)),
                100 * fmean(map(all, clips)),
                10 * math.log10(4 / error) if error else math.inf,
                100 * fmean(record["spared"] for record in own),
                len(clips),
            )
        )
    return found


def table(found: list[Point]) -> str:
    """In Markdown."""
    lines = [
        "| cache | threshold | passes spared | times as fast | attributes right | all right | dB |",
        "|" + "---|" * 7,
    ]
    lines += [
        f"| {each.name} | {each.threshold:g} | {each.spared:.0f} % | {each.speed:.2f} | {each.score:.1f} % | "
        f"{each.all_right:.1f} % | {each.likeness:.1f} |"
        for each in found
    ]
    return "\n".join(lines)


def picture(found: list[Point]) -> Image.Image:
    """Speed against score, and against the likeness to the clips without a cache."""
    whole = Image.new("RGB", (2 * (WIDTH + LEFT) + 20, HEIGHT + 2 * TOP), "white")
    draw = ImageDraw.Draw(whole)
    cached = [each for each in found if math.isfinite(each.likeness)]
    _panel(draw, LEFT, found, "score", (90.0, 100.0), "attributes right, %")
    _panel(draw, 2 * LEFT + WIDTH + 10, cached, "likeness", (25.0, 45.0), "likeness to no cache, dB")
    for number, (name, colour) in enumerate(COLOURS.items()):
        draw.text((LEFT + 10 + 90 * number, 4), name, colour)
    return whole


def _panel(
    draw: ImageDraw.ImageDraw, left: int, found: list[Point], field: str, span: tuple[float, float], title: str
) -> None:
    fastest = 2.6
    bottom = TOP + HEIGHT
    draw.rectangle((left, TOP, left + WIDTH - 20, bottom), outline="black")
    draw.text((left, TOP - 14), f"{title}, against times as fast", "black")
    ticks = 4
    for number in range(ticks + 1):
        part = number / ticks
        draw.text((left - 34, bottom - part * HEIGHT - 6), f"{span[0] + part * (span[1] - span[0]):.1f}", "black")
        draw.text((left + part * (WIDTH - 40), bottom + 4), f"{1 + part * (fastest - 1):.1f}", "black")
    for name, colour in COLOURS.items():
        places = [
            (
                left + (each.speed - 1) / (fastest - 1) * (WIDTH - 40),
                bottom - (getattr(each, field) - span[0]) / (span[1] - span[0]) * HEIGHT,
                each.threshold,
            )
            for each in found
            if each.name == name
        ]
        draw.line([place[:2] for place in places], fill=colour, width=2)
        for x, y, threshold in places:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
            draw.text((x + 5, y + 4), f"{threshold:g}", colour)


def main(*files: str) -> None:
    *records, target = map(Path, files)
    lines = [line for path in records for line in path.read_text(encoding="utf-8").splitlines()]
    found = points([json.loads(line) for line in lines])
    print(f"{table(found)}\n\n{found[0].clips} clips a row")
    picture(found).save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
