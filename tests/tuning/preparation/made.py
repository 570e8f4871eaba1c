"""Videos whose cuts, motion and camera are known, since they are made here."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from scipy import ndimage

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
HEIGHT, WIDTH = 144, 256
MARGIN = 80


def texture(seed: int, height: int = HEIGHT + 2 * MARGIN, width: int = WIDTH + 2 * MARGIN) -> np.ndarray:
    """A cloudy pattern [height, width, 3], float in 0..255, with detail of about eight pixels."""
    small = np.random.default_rng(seed).random((height // 8 + 2, width // 8 + 2, 3))
    large = ndimage.zoom(small, (8, 8, 1), order=3)[:height, :width]
    return (large.clip(0, 1) * 255).astype(np.float32)


def moved(seed: int, count: int, *, shift: tuple[float, float] = (0, 0), zoom: float = 1.0, turn: float = 0.0):
    """Frames [count, H, W, 3], uint8, whose content goes by `shift` pixels (right, down) a frame, grows and turns."""
    pattern = texture(seed)
    middle = np.array(pattern.shape[:2]) / 2
    frames = []
    for number in range(count):
        grown, angle = zoom**number, turn * number
        back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / grown
        way = np.array([shift[1], shift[0]]) * number
        corner = middle - back @ (np.array([HEIGHT, WIDTH]) / 2 + way)
        channels = [
            ndimage.affine_transform(pattern[..., each], back, corner, (HEIGHT, WIDTH), order=1, mode="reflect")
            for each in range(3)
        ]
        frames.append(np.stack(channels, -1))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def dissolve(first: np.ndarray, second: np.ndarray, length: int) -> np.ndarray:
    """Two shots, the end of the first mixed with the beginning of the second."""
    part = np.linspace(0, 1, length)[:, None, None, None]
    mixed = (first[-length:] * (1 - part) + second[:length] * part).astype(np.uint8)
    return np.concatenate([first[:-length], mixed, second[length:]])


def write(path: Path, frames: np.ndarray, fps: float = 16, options: Sequence[str] = ()) -> Path:
    """Writes frames to a file, whose ending says the container."""
    height, width = frames.shape[1:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    coded = ["-pix_fmt", "yuv420p", "-crf", "12"] if not options else list(options)
    command = [FFMPEG, "-v", "error", "-y", *source, *coded, str(path)]
    subprocess.run(command, input=np.ascontiguousarray(frames).tobytes(), check=True)
    return path
