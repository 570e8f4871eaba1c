"""Draws `icon.png` and `banner.png`, which the ComfyUI registry shows, from frames that the bundled model makes.

    python docs/images/draw.py

The registry wants the icon square and at most 400 x 400, the banner 21:9, and both by address.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent
ICON, BANNER = (400, 400), (1680, 720)
DRAWN = 3
"""How many times larger everything is drawn before it is made smaller, for smooth edges."""
NIGHT, BLUE, RED, PALE = (14, 18, 34), (46, 84, 214), (240, 62, 62), (232, 236, 248)
W = np.array([(0.0, 0.0), (0.25, 1.0), (0.5, 0.25), (0.75, 1.0), (1.0, 0.0)])
PROMPTS = (
    "a red circle moves to the right on a blue background",
    "a yellow triangle grows on a purple background",
    "a green square moves down on a white background",
)


def frames_of(prompt: str, folder: Path) -> list[Image.Image]:
    """The 17 frames of 64 x 64 pixels that the bundled model makes of a prompt."""
    values = {"Wan Text Encode.positive": prompt, "Wan Save Video.format": "png frames", "Wan Sampler.seed": "1"}
    changes = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "wan_director", "run", "tiny_t2v", "--quiet", "--output", str(folder), *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Image.open(line).convert("RGB") for line in sorted(done.stdout.split("\n")) if line.endswith(".png")]


def along_w(count: int) -> np.ndarray:
    """Points at even distances along the letter W, in the unit square: [count, 2]."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(W, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(at, lengths, W[:, axis]) for axis in (0, 1)], axis=1)


def ball_on_its_way(size: int, ground: tuple[int, int, int]) -> Image.Image:
    """A square picture of a ball that drew a W: its trail comes nearer and grows brighter."""
    side = size * DRAWN
    picture = Image.new("RGB", (side, side), ground)
    pen = ImageDraw.Draw(picture)
    places = along_w(160)
    for number, (x, y) in enumerate(places):
        part = number / (len(places) - 1)
        radius = side * (0.028 + 0.045 * part)
        colour = np.array(ground) + (np.array(PALE) - np.array(ground)) * (0.25 + 0.6 * part)
        if number == len(places) - 1:
            radius, colour = side * 0.115, np.array(RED)
        middle = side * np.array([0.19 + 0.6 * x, 0.28 + 0.46 * y])
        pen.ellipse([*(middle - radius), *(middle + radius)], fill=tuple(int(c) for c in colour))
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def rounded(picture: Image.Image, radius: int) -> Image.Image:
    """The picture with round corners, clear outside them."""
    mask = Image.new("L", (picture.width * DRAWN, picture.height * DRAWN))
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, mask.width - 1, mask.height - 1], radius * DRAWN, fill=255)
    picture = picture.convert("RGBA")
    picture.putalpha(mask.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


def banner(videos: list[list[Image.Image]]) -> Image.Image:
    """The name on the left, three videos of the bundled model as strips of film on the right."""
    width, height = BANNER
    rows, columns = np.mgrid[0:height, 0:width]
    light = np.exp(-(((columns - 0.72 * width) / width) ** 2 + ((rows - 0.5 * height) / height) ** 2) / 0.18)
    ground = np.array(NIGHT) + (np.array(BLUE) - np.array(NIGHT)) * 0.35 * light[..., None]
    picture = Image.fromarray(ground.round().astype(np.uint8)).convert("RGBA")
    side, gap = 190, 14
    for row, frames in enumerate(videos):
        for column, number in enumerate((0, 4, 8, 12, 16)):
            frame = frames[number].resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.SMOOTH)
            place = (690 + column * (side + gap) + (row - 1) * 46, 61 + row * (side + gap))
            picture.alpha_composite(rounded(frame, 16), place)
    emblem = rounded(ball_on_its_way(190, BLUE), 40)
    picture.alpha_composite(emblem, (96, 128))
    pen = ImageDraw.Draw(picture)
    pen.text((92, 350), "Wan Director", PALE, ImageFont.load_default(86))
    lines = "Text and images to video\nwith the open Wan models,\nin ComfyUI and headless"
    pen.multiline_text((96, 462), lines, (176, 188, 224), ImageFont.load_default(37), spacing=12)
    return picture.convert("RGB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        videos = [frames_of(prompt, Path(folder) / str(number)) for number, prompt in enumerate(PROMPTS)]
    rounded(ball_on_its_way(ICON[0], BLUE), 84).save(HERE / "icon.png", optimize=True)
    banner(videos).save(HERE / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
