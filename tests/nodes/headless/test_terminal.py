"""The process: closed and broken streams, narrow encodings, signals at any time, and what it costs to ask for help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from wan_director.__main__ import main

COMMAND = (sys.executable, "-m", "wan_director")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def shell(line: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """(exit code, standard error) of a line in which WD is the command."""
    line = line.replace("WD", f"'{sys.executable}' -m wan_director")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=cwd, capture_output=True, env={**os.environ, **environment}
    )
    return done.returncode, done.stderr.decode(errors="replace")


@on_posix
@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("WD --help | true", 0, ""),
        ("WD nodes --json | head -c 10 >/dev/null", 0, ""),
        ("WD --version > /dev/full", 1, "Standard output cannot be written to (No space left on device)"),
        ("WD nodes > /dev/full", 1, "Standard output cannot be written to (No space left on device)"),
        ("WD --version >&-", 0, ""),
        ("WD inspect nothing 2>&-", 1, ""),
        ("WD inspect nothing 2>/dev/full", 1, ""),
        ("WD --version <&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_in_any_state_are_no_traceback(line, code, words, tmp_path):
    found, err = shell(line, tmp_path)
    assert (found, err.count("Traceback"), err.count("Exception ignored")) == (code, 0, 0)
    assert words in err and err.count("\n") == bool(words)


@on_posix
def test_a_closed_stream_gets_no_file(tmp_path, models):
    """The numbers of closed streams are taken: what libraries print there must not land in a file that is open."""
    found, err = shell(f"WD inspect {models}/vae/vae.safetensors >&- 2>&-", tmp_path)
    assert (found, err) == (0, "")


def test_a_name_that_the_terminal_cannot_show_is_no_failure(models, tmp_path):
    path = tmp_path / "\u4e07\u76f8.safetensors"
    path.write_bytes((models / "vae" / "vae.safetensors").read_bytes())
    done = subprocess.run(
        [*COMMAND, "inspect", str(path)], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"}
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert b"\\u4e07\\u76f8.safetensors" in done.stdout


def test_a_video_with_such_a_name_is_saved_and_done(models, write, prompt, tmp_path):
    prompt["8"]["inputs"]["filename_prefix"] = "\u4e07\u76f8"
    arguments = ["run", str(write(prompt)), "--models", str(models), "--output", str(tmp_path / "out"), "--quiet"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_header_metadata_cannot_steer_the_terminal(models, tmp_path, capsys):
    weights = load_file(models / "diffusion_models" / "t2v.safetensors")
    path = tmp_path / "x\x1b]0;owned\x07.safetensors"
    metadata = {"wan_director.family": "tiny", "wan_director.heads": "4", "modelspec.title": "\x1b[2J\x9b31mred"}
    save_file(weights, path, metadata)
    assert main(["inspect", str(path)]) == 0
    save_file({"\x1b[2Jlora_A.weight": weights["head.head.weight"]}, path, {"format": "\x1b[5m"})
    assert main(["inspect", str(path)]) == 1
    shown = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown.out + shown.err)


@on_posix
def test_an_io_error_in_inspect_is_one_sentence(tmp_path, capsys, monkeypatch):
    assert main(["inspect", "/proc/self/mem"]) == 1
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"x" * 100)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["inspect", str(path)]) == 1
    err = capsys.readouterr().err
    assert f"{path} cannot be read (Input/output error)" in err and err.count("\n") == 2


def test_help_does_not_bring_torch_in(tmp_path):
    code = "import sys; from wan_director.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_a_plan_without_a_card_is_refused_before_torch_comes(tmp_path):
    code = "import sys; from wan_director.__main__ import main\nassert main(['plan', 'tiny_t2v']) == 1\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False" and "A plan needs a workflow and --vram" in done.stderr


@pytest.mark.parametrize("name", ["tiny_t2v", "TINY_T2V", "t2v_14B"])
def test_bundled_workflows_are_planned_by_name(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", name, "--vram", "24GB"]) == 0
    assert "sample" in capsys.readouterr().out


def test_bundled_workflows_are_listed_and_misspelt_ones_suggested(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["workflows"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny_") and any(line.split()[0] == "t2v_14B" for line in lines)
    assert main(["run", "tiny_tv2"]) == 1
    err = capsys.readouterr().err
    assert (
        "There is no workflow file tiny_tv2" in err
        and "Did you mean" in err
        and "tiny_t2v" in err
        and err.count("\n") == 1
    )


@on_posix
def test_a_folder_that_is_gone_is_one_sentence(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["nodes"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "is not there any more" in captured.err and captured.err.count("\n") == 1


def test_the_version_is_that_of_the_project(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    project = Path(main.__code__.co_filename).with_name("pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{capsys.readouterr().out.split()[1]}"' in project


@on_posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_that_is_told_to_end_stops_between_blocks(name, models, write, prompt, tmp_path):
    prompt["6"]["inputs"] |= {"steps": 1000, "solver": "heun"}
    prompt["5"]["inputs"] |= {"width": 256, "height": 256, "frames": 33}
    arguments = ["run", str(write(prompt)), "--models", str(models), "--output", str(tmp_path / "out")]
    # The tests may run under nohup, which would be heeded.
    as_usual = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, preexec_fn=as_usual)
    for line in process.stderr:
        if "Loading t2v.safetensors" in line:
            break
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 128 + getattr(signal, name)
    assert rest.splitlines()[-1].startswith("wan-director: stopped.") and "Traceback" not in rest
    assert not (tmp_path / "out").exists()


@on_posix
def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path):
    code = (
        "import os, signal, sys, threading\n"
        "from wan_director.__main__ import main\n"
        "def press():\n"
        "    while 'torch.nn' not in sys.modules: pass\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=press, daemon=True).start()\n"
        "sys.exit(main(['nodes']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "wan-director: stopped.\n")


@on_posix
def test_nohup_is_heeded(tmp_path):
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from wan_director.nodes.headless.commands.stopping import Stop\n"
        "with Stop().at_once(): os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "toaster", "cuda:99", "cpu:0:1", "", "hpu", "\x1b[2J"])
def test_a_device_that_cannot_be_used_is_one_sentence(device, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "tiny_t2v", "--device", device]) == 1
    err = capsys.readouterr().err
    assert "cannot be used here" in err and "Choose one of: auto, cpu" in err and err.count("\n") == 1
    assert "\x1b" not in err


def test_a_run_says_once_that_fp16_is_slow(capsys, tmp_path, models, write, prompt):
    for folder in ("diffusion_models", "vae", "text_encoders"):
        source = next((models / folder).glob("t2v.safetensors" if folder[0] == "d" else "[vt]*e*.safetensors"))
        path = tmp_path / "m" / folder / source.name
        path.parent.mkdir(parents=True)
        from safetensors import safe_open

        with safe_open(source, "pt") as file:
            metadata, keys = file.metadata(), file.keys()
            tensors = {key: file.get_tensor(key) for key in keys}
        save_file(
            {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()},
            path,
            metadata,
        )
    assert (
        main(["run", str(write(prompt)), "--models", str(tmp_path / "m"), "--output", str(tmp_path), "--device", "cpu"])
        == 0
    )
    err = capsys.readouterr().err
    assert err.count("fp16 is about a thousand times slower on a CPU") == 1
    assert err.count(" in memory)") == 3
