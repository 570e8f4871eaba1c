"""The language of the demo model: sentences for scenes, with synonyms, free order and left-out attributes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from wan_director.training.scenes import Scene

# Source: Wan-Video/Wan2.1 wan/configs/shared_config.py, sample_neg_prompt; escaped for Windows consoles.
WAN_NEGATIVE = (
    "\u8272\u8c03\u8273\u4e3d\uff0c\u8fc7\u66dd\uff0c\u9759\u6001\uff0c\u7ec6\u8282\u6a21\u7cca\u4e0d\u6e05\uff0c"
    "\u5b57\u5e55\uff0c\u98ce\u683c\uff0c\u4f5c\u54c1\uff0c\u753b\u4f5c\uff0c\u753b\u9762\uff0c\u9759\u6b62\uff0c"
    "\u6574\u4f53\u53d1\u7070\uff0c\u6700\u5dee\u8d28\u91cf\uff0c\u4f4e\u8d28\u91cf\uff0cJPEG\u538b\u7f29\u6b8b"
    "\u7559\uff0c\u4e11\u964b\u7684\uff0c\u6b8b\u7f3a\u7684\uff0c\u591a\u4f59\u7684\u624b\u6307\uff0c\u753b\u5f97"
    "\u4e0d\u597d\u7684\u624b\u90e8\uff0c\u753b\u5f97\u4e0d\u597d\u7684\u8138\u90e8\uff0c\u7578\u5f62\u7684\uff0c"
    "\u6bc1\u5bb9\u7684\uff0c\u5f62\u6001\u7578\u5f62\u7684\u80a2\u4f53\uff0c\u624b\u6307\u878d\u5408\uff0c\u9759"
    "\u6b62\u4e0d\u52a8\u7684\u753b\u9762\uff0c\u6742\u4e71\u7684\u80cc\u666f\uff0c\u4e09\u6761\u817f\uff0c\u80cc"
    "\u666f\u4eba\u5f88\u591a\uff0c\u5012\u7740\u8d70"
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
    "\u955c\u5934\u6643\u52a8\uff0c" + WAN_NEGATIVE,
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
    letters = "abcdefghijklmnopqrstuvwxyzäöüéñ\u753b\u9762\u5149\u5f71\u7684\u65e5\u672c\u8a9e0123456789"
    return "".join(letters[int(rng.integers(len(letters)))] for _ in range(rng.integers(3, 9)))


def _colour(name: str, rng: np.random.Generator) -> str:
    return _pick(rng, COLOUR_WORDS.get(name, (name,)))


def _pick(rng: np.random.Generator, options) -> str:
    return options[int(rng.integers(len(options)))]
