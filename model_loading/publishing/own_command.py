"""How this pack's command line is called from the system's shell, wherever the pack lies."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = "wan-director"
_FOLDER = Path(__file__).absolute().parents[2]
"""The pack's own, under the name that it was found by."""


def own_command(*words: str) -> str:
    """A command of the pack as the system's shell reads it: `wan-director ...` where that is installed.

    A folder in ComfyUI's custom_nodes has no such script: there it is `PYTHON FOLDER ...`, with the running Python.
    """
    return shell_words([*_call(), *words])


def shell_words(words: Sequence[str]) -> str:
    """A command as the system's shell reads it."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _call() -> list[str]:
    is_installed = any(shutil.which(_SCRIPT, path=path) for path in (None, sysconfig.get_path("scripts")))
    return [_SCRIPT] if is_installed else [sys.executable, str(_FOLDER)]
