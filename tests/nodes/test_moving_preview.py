"""A moving preview on a canvas: pictures in their order, again and again, and nothing after its end."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import torch
from PIL import Image
from wan_director.engine.previews.moving import MovingPicture
from wan_director.nodes.hosts.moving import MovingPreview

RATE = 100.0


class Canvas:
    """Keeps the brightness of what it is sent."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.sizes: set[tuple[int, int]] = set()
        self._came = threading.Condition()

    def send(self, jpeg: bytes) -> None:
        image = Image.open(io.BytesIO(jpeg))
        with self._came:
            self.seen.append(round(float(np.asarray(image).mean())))
            self.sizes.add(image.size)
            self._came.notify()

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.seen) >= count, timeout=20)


def of_brightness(*values: int) -> MovingPicture:
    frames = [torch.full((4, 8, 3), value, dtype=torch.uint8) for value in values]
    return MovingPicture(torch.stack(frames), RATE)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "wan-director-preview"]


def test_the_pictures_come_in_their_order_again_and_again() -> None:
    canvas = Canvas()
    preview = MovingPreview(64, canvas.send)
    preview.show(of_brightness(0, 50, 100))
    canvas.wait_for(7)
    preview.end()
    assert canvas.seen[:7] == [0, 50, 100, 0, 50, 100, 0]
    assert canvas.sizes == {(64, 32)}


def test_a_newer_one_goes_on_where_the_motion_was() -> None:
    canvas = Canvas()
    preview = MovingPreview(16, canvas.send)
    preview.show(of_brightness(0, 50, 100, 150))
    canvas.wait_for(2)
    preview.show(of_brightness(10, 60, 110, 160))
    canvas.wait_for(12)
    preview.end()
    places = [value % 50 // 10 for value in canvas.seen], [value // 50 for value in canvas.seen]
    assert set(places[0]) == {0, 1} and places[0] == sorted(places[0])
    assert places[1] == [index % 4 for index in range(len(canvas.seen))]


def test_nothing_comes_after_the_end() -> None:
    canvas = Canvas()
    preview = MovingPreview(16, canvas.send)
    preview.show(of_brightness(0, 50))
    canvas.wait_for(1)
    preview.end()
    count = len(canvas.seen)
    assert not threads()
    time.sleep(5 / RATE)
    assert len(canvas.seen) == count


def test_without_a_canvas_and_for_one_picture_there_is_no_thread() -> None:
    alone = MovingPreview(16, None)
    alone.show(of_brightness(0, 50))
    single = MovingPreview(16, Canvas().send)
    single.show(of_brightness(0))
    assert not threads()
    alone.end()
    single.end()


def test_a_canvas_that_fails_stops_the_motion_alone(caplog) -> None:
    def fail(_jpeg: bytes) -> None:
        raise ConnectionError("gone")

    preview = MovingPreview(16, fail)
    preview.show(of_brightness(0, 50))
    for _ in range(200):
        if not threads():
            break
        time.sleep(0.01)
    preview.show(of_brightness(0, 50))
    preview.end()
    assert "The preview stands still: gone" in caplog.text
