"""A process of the command line that is asked to stop: it ends soon, with its own ends done, and leaves no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .conftest import node

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def decoding(tmp_path: Path) -> dict:
    """Takes minutes."""
    save_file({"latent_tensor": torch.zeros(1, 16, 41, 60, 104)}, tmp_path / "long.latent")
    return {
        "latent": node("LoadLatent", latent=str(tmp_path / "long.latent")),
        "vae": node("WanDirectorLoadVAE", vae_name="vae.safetensors", precision="auto"),
        "frames": node("WanDirectorDecode", vae=["vae", 0], latent=["latent", 0]),
        "save": node("WanDirectorSaveVideo", images=["frames", 0], fps=8.0, filename_prefix="a", format="gif"),
    }


def saving(tmp_path: Path) -> dict:
    """Takes minutes."""
    return {
        "frames": node("EmptyImage", width=1280, height=720, batch_size=200, color=255),
        "save": node(
            "WanDirectorSaveVideo", images=["frames", 0], fps=8.0, filename_prefix="a", format="mp4-h265", quality=100
        ),
    }


def is_at_work(process: subprocess.Popen, output: Path, *, saves: bool) -> None:
    """Waits until the VAE is loaded, or a file is begun."""
    if not saves:
        assert process.stderr is not None
        assert any("Loading vae.safetensors" in line for line in process.stderr)
    while saves and process.poll() is None and not any(path.is_file() for path in output.rglob("*")):
        time.sleep(0.02)
    time.sleep(0.5)


@pytest.mark.parametrize("make", [decoding, saving])
def test_a_stop_is_heard_in_decoding_and_in_saving(make, models, write, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "wan_director", "run", str(write(make(tmp_path))), "--models", str(models)]
    process = subprocess.Popen([*command, "--output", str(output)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    is_at_work(process, output, saves=make is saving)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "wan-director: stopped." and "Traceback" not in told
    assert not [path for path in output.rglob("*") if path.is_file()]


ENDING = """
import atexit, builtins
from wan_director import __main__ as command_line

class Told:
    def __del__(self):
        print("taken down")

builtins.told = Told()
def main():
    if {code!r} is None:
        raise SystemError("a fault")
    return {code!r}

command_line.main = main

def last():
    print("own end")

atexit_first = command_line.atexit.register
command_line.atexit.register = lambda *call: (atexit_first(*call), atexit_first(last))
command_line.command()
"""


@pytest.mark.parametrize(
    ("code", "said"), [(130, ["own end"]), (1, ["own end"]), (0, ["own end"]), (None, ["own end", "taken down"])]
)
def test_a_process_is_gone_when_its_own_ends_are_done(code, said):
    """Its modules are not taken down, which takes torch half a second; after a fault of ours Python ends as it does."""
    ended = subprocess.run([sys.executable, "-c", ENDING.format(code=code)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.splitlines()) == (1 if code is None else code, said), ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="closed by a shell of another kind")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_process_ends_in_silence_where_its_output_was_closed_from_the_start(closed):
    command = f'exec "$0" -m wan_director workflows {closed}'
    ended = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
