"""The language of the demo model: sentences for scenes, with synonyms, free order and left-out attributes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from wan_director.training.scenes import Scene

WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
NEGATIVES = (
    "",
    WAN_NEGATIVE,
    "bad quality, blurry, distorted, watermark, text",
    "worst quality, low quality, jpeg artifacts, ugly, deformed",
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly "
    "drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy "
    "background, three legs, many people in the background, walking backwards",
    "low resolution, noise, grainy, flickering",
    "镜头晃动，" + WAN_NEGATIVE,
)

SHAPE_WORDS = {
    "circle": ("circle", "circle", "circle", "ball", "disc", "dot"),
    "square": ("square", "square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "triangle", "pyramid"),
}
COLOUR_WORDS = {
    "purple": ("purple", "purple", "violet"),
    "cyan": ("cyan", "cyan", "turquoise"),
    "gray": ("gray", "grey"),
}
MOTION_PHRASES = {
    "right": ("moves to the right", "moving to the right", "moves right", "slides from left to right",
              "drifts to the right", "goes right", "travels toward the right side", "glides right"),
    "left": ("moves to the left", "moving to the left", "moves left", "slides from right to left",
             "drifts to the left", "goes left", "travels toward the left side", "glides left"),
    "up": ("moves up", "moving up", "moves upward", "rises", "goes up", "floats up", "slides from bottom to top"),
    "down": ("moves down", "moving down", "moves downward", "falls", "goes down", "sinks", "slides from top to bottom"),
    "still": ("stays still", "does not move", "stands still", "rests in place", "is not moving", "stays where it is"),
    "grow": ("grows", "gets bigger", "becomes larger", "growing", "expands"),
    "shrink": ("shrinks", "gets smaller", "becomes smaller", "shrinking", "contracts"),
}  # fmt: skip
SPEED_WORDS = {"slow": ("slowly", "slowly", "gently"), "fast": ("quickly", "fast", "rapidly")}
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "big": ("big", "large", "large", "huge")}
BACKGROUND_PHRASES = (
    "on a {} background", "on a {} background", "in front of a {} background", "with a {} background",
    "on {}", "against a {} backdrop", "on a plain {} background",
)  # fmt: skip
QUALITY_TAGS = (
    "high quality", "smooth motion", "4k", "clean", "a video", "sharp", "best quality", "simple animation",
    "flat colors", "cinematic", "masterpiece", "minimalist",
)  # fmt: skip
DROP = {"colour": 0.04, "background": 0.08, "motion": 0.06, "speed": 0.4, "size": 0.4}


class Caption(NamedTuple):
    """A sentence, and which attributes of the scene it names."""

    text: str
    named: frozenset[str]


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A random sentence for the scene; attributes may be left out, never wrong."""
    kept = {name: rng.random() >= chance for name, chance in DROP.items()}
    kept["speed"] = kept["speed"] and kept["motion"] and scene.motion != "still"
    noun = _noun(scene, rng, with_colour=kept["colour"], with_size=kept["size"])
    motion = _motion(scene, rng, with_speed=kept["speed"]) if kept["motion"] else ""
    background = _pick(rng, BACKGROUND_PHRASES).format(_colour(scene.background, rng)) if kept["background"] else ""
    text = _finish(_order(noun, motion, background, rng), rng)
    return Caption(text, frozenset(["shape", *(name for name in kept if kept[name])]))


def plain_caption(scene: Scene) -> str:
    """The sentence a user would try first, with all attributes but the size."""
    speed = "" if scene.motion == "still" else f" {SPEED_WORDS[scene.speed][0]}"
    motion = MOTION_PHRASES[scene.motion][0]
    return f"a {scene.colour} {scene.shape} {motion}{speed} on a {scene.background} background"


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A random sentence that names colour, shape, motion and background."""
    noun = _noun(scene, rng, with_colour=True, with_size=rng.random() < 0.5)
    motion = _motion(scene, rng, with_speed=rng.random() < 0.6)
    background = _pick(rng, BACKGROUND_PHRASES).format(_colour(scene.background, rng))
    return _order(noun, motion, background, rng)


def negative_prompt(rng: np.random.Generator, *, short: bool) -> str:
    """What stands for "no prompt": mostly nothing, else a usual negative prompt, so that those do no harm.

    `short` leaves out those of more than a hundred tokens, which would make a whole batch slow.
    """
    if rng.random() < 0.4:
        return ""
    return _pick(rng, tuple(text for text in NEGATIVES if len(text) < 100) if short else NEGATIVES)


def _noun(scene: Scene, rng: np.random.Generator, *, with_colour: bool, with_size: bool) -> str:
    words = [_pick(rng, SIZE_WORDS[scene.size])] if with_size else []
    if with_colour:
        words.append(_colour(scene.colour, rng))
    words.append(_pick(rng, SHAPE_WORDS[scene.shape]))
    article = _pick(rng, ("a", "a", "a", "the", "one", ""))
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words]).strip()


def _motion(scene: Scene, rng: np.random.Generator, *, with_speed: bool) -> str:
    phrase = _pick(rng, MOTION_PHRASES[scene.motion])
    if not with_speed or scene.motion == "still":
        return phrase
    speed = _pick(rng, SPEED_WORDS[scene.speed])
    return f"{phrase} {speed}" if rng.random() < 0.7 else f"{speed} {phrase}"


def _order(noun: str, motion: str, background: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.55:
        parts = (noun, motion, background)
    elif draw < 0.75:
        parts = (noun, background, motion)
    elif draw < 0.9 and background:
        parts = (f"{background},", noun, motion)
    else:
        parts = (f"{noun},", f"{motion}," if motion else "", background)
    return " ".join(part for part in parts if part).rstrip(",")


def _finish(text: str, rng: np.random.Generator) -> str:
    """Adds what real prompts have around the sentence: tags, strange words, capitals, a full stop."""
    if rng.random() < 0.15:
        tags = ", ".join(_pick(rng, QUALITY_TAGS) for _ in range(rng.integers(1, 3)))
        text = f"{text}, {tags}" if rng.random() < 0.6 else f"{tags}, {text}"
    if rng.random() < 0.06:
        text = f"{text} {_nonsense(rng)}"
    if rng.random() < 0.25:
        text = text[:1].upper() + text[1:]
    return f"{text}." if rng.random() < 0.3 else text


def _nonsense(rng: np.random.Generator) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzäöüéñ画面光影的日本語0123456789"
    return "".join(letters[int(rng.integers(len(letters)))] for _ in range(rng.integers(3, 9)))


def _colour(name: str, rng: np.random.Generator) -> str:
    return _pick(rng, COLOUR_WORDS.get(name, (name,)))


def _pick(rng: np.random.Generator, options) -> str:
    return options[int(rng.integers(len(options)))]
