"""Progress of the command line: in a terminal one line, which others do not break; nothing that moves elsewhere."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")

LONG_WORK = """
import logging, sys
from wan_director.engine.progress import Counted
from wan_director.engine import terminal
from wan_director.nodes.headless.commands.terminal import log_to_terminal

log_to_terminal(quiet=False)
terminal.KEPT_AFTER_S = {kept}
with terminal.shown_progress(Counted("Sampling", "step", 4)) as progress:
    for step in range(1, 5):
        logging.getLogger("wan_director").info("a line beside it")
        progress.update(step)
"""


def in_a_terminal(code: str, columns: int = 80) -> str:
    """What a process writes to a terminal of so many columns."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            written += os.read(ours, 65536)
        except OSError:  # it has ended
            break
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that stand there in the end: a carriage return goes to the start of a line, and writing covers."""
    lines = [""]
    for part in re.split(r"(\r\n|\n|\r|\x1b\[A)", written):
        if part in ("\r\n", "\n"):
            lines.append("")
        elif part not in ("\r", "\x1b[A"):
            lines[-1] = part + lines[-1][len(part) :]
    return [line.rstrip() for line in lines if line.strip()]


def test_other_lines_do_not_break_the_line_and_it_ends_as_what_it_took():
    lines = screen(in_a_terminal(LONG_WORK.format(kept=0)))
    assert lines[:4] == ["a line beside it"] * 4
    assert len(lines) == 5 and lines[4].startswith("Sampling: 4 steps in ")


def test_short_work_leaves_no_line():
    assert screen(in_a_terminal(LONG_WORK.format(kept=1000))) == ["a line beside it"] * 4


def test_the_words_are_cut_to_a_narrow_terminal():
    written = in_a_terminal(LONG_WORK.format(kept=1000), columns=30)
    assert "Sampling:" in written
    assert max(len(part) for part in re.split(r"[\r\n]", written)) <= 30


def test_nothing_moves_where_there_is_no_terminal(write, prompt, models, tmp_path: Path):
    arguments = ["run", str(write(prompt)), "--models", str(models), "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "wan_director", *arguments], capture_output=True, text=True, check=True
    )
    assert "\r" not in done.stderr and "\x1b" not in done.stderr and "%" not in done.stderr
