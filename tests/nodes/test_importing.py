"""The pack imports little, from a folder with any name, and under pytest's second name for it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wan_director
from wan_director import __main__ as command_line
from wan_director.model_loading.publishing import own_command

ROOT = Path(wan_director.__file__).parent


def python(code: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def test_import_brings_no_package_beside_torch_and_einops():
    """What is slow to import (transformers, huggingface_hub, video libraries) waits until it is used; einops takes 4 ms
    and comes with ComfyUI."""
    code = (
        "import sys, torch\n"
        "def packages(): return {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "before = packages()\n"
        "import wan_director\n"
        "wan_director.NODE_CLASS_MAPPINGS\n"
        "print(sorted(packages() - before))"
    )
    assert python(code) == "['einops', 'wan_director']"


def test_comfyui_loads_it_from_a_folder_with_any_name(tmp_path):
    """As ComfyUI does: the module's name is the folder's path, and the folder may be called wan-director."""
    folder = tmp_path / "custom_nodes" / "wan-director"
    folder.parent.mkdir()
    folder.symlink_to(ROOT, target_is_directory=True)
    code = (
        "import importlib.util, sys\n"
        f"name = {str(folder)!r}.replace('.', '_x_')\n"
        f"spec = importlib.util.spec_from_file_location(name, {str(folder / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules[name] = module\n"
        "spec.loader.exec_module(module)\n"
        "print(len(module.NODE_CLASS_MAPPINGS), module.WEB_DIRECTORY, 'wan_director' in sys.modules)"
    )
    assert python(code) == f"{len(wan_director.NODE_CLASS_MAPPINGS)} ./web False"


def copied(folder: Path) -> None:
    """The pack, without what only developers need."""
    left_out = shutil.ignore_patterns(".*", "tests", "docs", "benchmarks", "findings", "__pycache__", "*.jpg", "*.webp")
    shutil.copytree(ROOT, folder, ignore=left_out)


def linked(folder: Path) -> None:
    folder.parent.mkdir()
    folder.symlink_to(ROOT, target_is_directory=True)


@pytest.mark.parametrize("put", [copied, linked])
@pytest.mark.parametrize("name", ["wan-director", "wan director 1.2.x", "nodes"])
def test_its_folder_is_its_command_line_too(put, name, tmp_path):
    """As in custom_nodes, where nothing is installed; the code that runs is that of the folder."""
    folder = tmp_path / "custom_nodes" / name
    put(folder)
    if put is copied:
        project = folder / "pyproject.toml"
        text = re.sub('^version = ".*"$', 'version = "98.7"', project.read_text("utf-8"), flags=re.MULTILINE)
        project.write_text(text, "utf-8")
    for given in (name, f"{name}/__main__.py", str(folder)):
        command = [sys.executable, given, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
        version = "98.7" if put is copied else command_line.version()
        assert (done.returncode, done.stdout, done.stderr) == (0, f"wan-director {version}\n", "")
    run = [sys.executable, name, "run", "tiny_t2v", "--quiet", "--output", str(tmp_path), "--device", "cpu"]
    run += ["--set", "WanDirectorSampler.steps=1"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == 0 and Path(done.stdout.strip()).is_file(), done.stderr


@pytest.mark.skipif(os.name == "nt", reason="reads a line as a POSIX shell does")
def test_a_sentence_names_the_command_that_works_where_it_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "custom nodes" / "wan director 1.2.x"
    linked(folder)
    monkeypatch.setattr(own_command, "_FOLDER", folder)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    command = own_command.own_command("download", "--help")
    assert command.endswith(" download --help") and str(folder) in command
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "wan-director download" in done.stdout
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if path is None else f"{path}/{name}")
    assert own_command.own_command("download", "wan_2.1_vae") == "wan-director download wan_2.1_vae"


def test_a_second_import_under_a_bare_name_gives_the_same_nodes():
    spec = importlib.util.spec_from_file_location("__init__", ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS == wan_director.NODE_CLASS_MAPPINGS


def test_a_run_never_imports_the_compiler_or_its_algebra(tmp_path):
    """torch._dynamo costs 1.7 s of processor time, sympy 0.5; initial values on the meta device would bring them in."""
    arguments = ["run", str(ROOT / "workflows" / "api" / "tiny_t2v.json"), "--quiet", "--output", str(tmp_path)]
    code = (
        "import sys\n"
        "from wan_director.__main__ import main\n"
        f"code = main({[*arguments, '--set', 'WanDirectorSampler.steps=1']!r})\n"
        "print(code, sorted({'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)))"
    )
    assert python(code).splitlines()[-1] == "0 []"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["workflows"]])
def test_what_needs_no_model_imports_no_torch(words):
    code = (
        "import sys\n"
        "from wan_director.__main__ import main\n"
        "try:\n"
        f"    code = main({words!r})\n"
        "except SystemExit as ended:\n"
        "    code = ended.code or 0\n"
        "print(code, sorted({'torch', 'numpy', 'einops', 'tqdm'} & set(sys.modules)))"
    )
    assert python(code).splitlines()[-1] == "0 []"


def test_garbage_is_looked_for_again_once_torch_is_there():
    code = (
        "import gc, sys\n"
        "from wan_director.__main__ import main\n"
        "main(['inspect', 'no-such-file'])\n"
        "print('torch' in sys.modules, gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    assert python(code) == "True True True"


@pytest.mark.parametrize(("own", "seen"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_idle_threads_sleep_unless_the_user_says_otherwise(own, seen, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert python("import os, wan_director; print(os.environ['OMP_WAIT_POLICY'])") == seen
    assert python("import os, torch, wan_director; print(os.environ.get('OMP_WAIT_POLICY'))") == str(
        own.get("OMP_WAIT_POLICY")
    )
