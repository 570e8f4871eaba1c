"""Importing what a command needs."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def bringing_torch() -> Iterator[None]:
    """Inside, where torch is imported for the first time, Python does not look for garbage.

    What torch and the pack bring stays to the end. Python would look through all of it four times (0.3 s of processor
    time, torch 2.13), and again whenever a run has made a quarter as much.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
