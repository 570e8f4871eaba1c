"""A moving preview on a canvas that knows only still pictures: one picture after another, while a step is computed."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from itertools import count

from ...common.log import logger
from ...engine.previews.moving import MovingPicture

SendFrame = Callable[[bytes], None]
"""Shows a JPEG on the node that runs."""
_QUALITY = 80


class MovingPreview:
    """Shows the newest moving picture again and again, from a thread of its own, until it ends.

    Each picture is compressed once, and sent as it is. When a newer one comes the motion goes on where it was.

    Args:
        side: the longest side that is shown; smaller pictures are enlarged to it.
        send: None where nobody could show them.
    """

    def __init__(self, side: int, send: SendFrame | None) -> None:
        self._side, self._send = side, send
        self._changed = threading.Condition()
        self._newest: MovingPicture | None = None
        self._is_over = False
        self._thread: threading.Thread | None = None

    def show(self, picture: MovingPicture) -> None:
        """From now on this one; returns at once."""
        if self._send is None or len(picture.frames) < 2:
            return
        with self._changed:
            self._newest = picture
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wan-director-preview", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Nothing is sent after this."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._play()
        except Exception as error:  # a border: the run goes on without what is shown of it
            logger.warning("The preview stands still: %s", error)

    def _play(self) -> None:
        shown: MovingPicture | None = None
        jpegs: dict[int, bytes] = {}
        for number in count():
            with self._changed:
                if self._is_over or self._newest is None:
                    return
                picture = self._newest
            if picture is not shown:
                shown, jpegs = picture, {}
            index = number % len(picture.frames)
            if index not in jpegs:
                jpegs[index] = jpeg(picture, index, self._side)
            with self._changed:
                if self._is_over:
                    return
                if self._send is not None:
                    self._send(jpegs[index])
                self._changed.wait_for(lambda: self._is_over, timeout=1 / picture.rate)


def jpeg(picture: MovingPicture, index: int, side: int) -> bytes:
    """One of its pictures, with `side` as the longer side, as the file of a JPEG."""
    from PIL import Image, ImageOps

    image = ImageOps.contain(Image.fromarray(picture.frames[index].numpy()), (side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
