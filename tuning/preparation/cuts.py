"""Where one shot of a video ends and the next begins: cuts at once, and those that take a while."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...media.video_reading import VideoFile, read_span
from .packages import opencv, scene_detection, soft_cut_network

SHORTER_SIDE = 144
"""Cuts are looked for in pictures of this size."""
_AROUND = 3
"""The first and last picture are shown so often more: the detector compares a cut with its neighbours."""
_NETWORK_SIZE = (48, 27)
_NETWORK_WINDOW, _NETWORK_STEP = 100, 50
_HARD = 2
"""A change of so many pictures is a cut."""


class Shot(NamedTuple):
    """Pictures of a video, by number: `first` to the one before `end`."""

    first: int
    end: int


def find_shots(video: VideoFile, size: tuple[int, int], *, soft: bool) -> list[Shot]:
    """The shots of a video, in order; what lies in a dissolve is in none.

    Args:
        size: width and height as the video is shown.
        soft: whether dissolves are looked for, with TransNetV2.

    Raises:
        InvalidInputError: the video is damaged.
        MissingPackageError: what finds them is not installed.
    """
    scale = min(1.0, SHORTER_SIDE / min(size))
    small = (max(16, round(size[0] * scale)), max(16, round(size[1] * scale)))
    network = _SmallPictures() if soft else None
    with contextlib.closing(read_span(video, size=small)) as pictures:
        cuts = find_cuts(_noted((picture.numpy() for picture in pictures), network))
    changes = [] if network is None else soft_changes(network.all())
    return shots_between(len(video.times), cuts, changes)


def find_cuts(pictures: Iterable[np.ndarray]) -> list[int]:
    """The numbers of pictures that begin a new shot, by PySceneDetect's adaptive detector.

    Args:
        pictures: each [H, W, 3], uint8, RGB.
    """
    detection = scene_detection()
    timecode = __import__("scenedetect").FrameTimecode
    convert = opencv().cvtColor
    to_bgr = opencv().COLOR_RGB2BGR
    # Without its least length of a shot, 15 pictures, which hides a cut near the beginning.
    detector = detection.AdaptiveDetector(min_scene_len=1)
    found: list[int] = []
    for number, picture in enumerate(_surrounded(pictures)):
        cuts = detector.process_frame(timecode(number, 25.0), convert(picture, to_bgr))
        found += [cut.frame_num - _AROUND for cut in cuts]
    return found


def soft_changes(small: np.ndarray) -> list[Shot]:
    """The pictures of each change of shot, the soft ones too, by TransNetV2.

    Args:
        small: [F, 27, 48, 3], uint8, RGB.
    """
    with _quiet_determinism():
        network: Any = soft_cut_network()(device="cpu").eval()
    rated = np.concatenate([_rated(network, window) for window in _windows(small)])[: len(small)]
    is_change = np.concatenate([[False], rated > 0.5, [False]])
    edges = np.flatnonzero(is_change[1:] != is_change[:-1])
    return [Shot(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2])]


def shots_between(count: int, cuts: Sequence[int], changes: Sequence[Shot] = ()) -> list[Shot]:
    """The shots of a video of `count` pictures.

    Args:
        cuts: where shots begin.
        changes: pictures of a change; a short one is that cut, if there is one beside it, or one of its own.
    """
    begins = set(cuts)
    soft = []
    for change in changes:
        is_known = any(change.first - _HARD <= cut <= change.end + _HARD for cut in cuts)
        if change.end - change.first > _HARD:
            soft.append(change)
        elif not is_known:
            begins.add(change.end)
    edges = {0: 0, **{begin: begin for begin in begins}}
    edges |= {change.first: change.end for change in soft}
    inside = {begin for begin in begins for change in soft if change.first < begin < change.end}
    order = sorted(edges.keys() - inside) + [count]
    shots = [Shot(edges[begin], end) for begin, end in zip(order, order[1:])]
    return [shot for shot in shots if shot.end > shot.first]


class _SmallPictures:
    """Pictures in the size of the network, all of a video: 4 KB each."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def add(self, picture: np.ndarray) -> None:
        resize = opencv()
        self._kept.append(resize.resize(picture, _NETWORK_SIZE, interpolation=resize.INTER_AREA))

    def all(self) -> np.ndarray:
        return np.stack(self._kept)


def _noted(pictures: Iterable[np.ndarray], network: _SmallPictures | None) -> Iterator[np.ndarray]:
    for picture in pictures:
        if network is not None:
            network.add(picture)
        yield picture


def _surrounded(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    last = None
    for picture in pictures:
        if last is None:
            yield from [picture] * _AROUND
        last = picture
        yield picture
    if last is not None:
        yield from [last] * _AROUND


def _windows(small: np.ndarray) -> Iterator[np.ndarray]:
    """Windows of 100 pictures, of which the middle 50 are rated; the ends repeat."""
    before = (_NETWORK_WINDOW - _NETWORK_STEP) // 2
    after = before + -len(small) % _NETWORK_STEP
    padded = np.concatenate([np.repeat(small[:1], before, 0), small, np.repeat(small[-1:], after, 0)])
    for start in range(0, len(small), _NETWORK_STEP):
        yield padded[start : start + _NETWORK_WINDOW]


def _rated(network: Any, window: np.ndarray) -> np.ndarray:
    """How likely each of the middle pictures is in a change."""
    with torch.inference_mode():
        one, many = network(torch.from_numpy(window)[None])
    rated = torch.maximum(one, many["many_hot"])[0, :, 0].sigmoid()
    return rated[_NETWORK_STEP // 2 : -_NETWORK_STEP // 2].numpy()


@contextlib.contextmanager
def _quiet_determinism() -> Generator[None, None, None]:
    """The network's making sets seeds and switches of the whole process, and prints; all is as before afterwards."""
    numbers, torchs = np.random.get_state(), torch.get_rng_state()
    import random

    plain = random.getstate()
    mode, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.use_deterministic_algorithms(mode, warn_only=warn)
        torch.set_rng_state(torchs)
        np.random.set_state(numbers)
        random.setstate(plain)
