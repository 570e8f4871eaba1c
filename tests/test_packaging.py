"""What the registry serves can be installed with pip, and then does all that a checkout does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked zip that the registry serves: what git tracks, less what .comfyignore names."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout")
    folder = tmp_path_factory.mktemp("published")
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = tuple(line.lstrip("/") for line in lines if line and not line.startswith("#"))
    for name in tracked():
        if not name.startswith(ignored):
            copy_into(folder, name)
    return folder


def tracked() -> list[str]:
    """The files of the checkout that git knows, by their paths in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy_into(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / name, folder / name)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def site(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package as pip installs it from the unpacked zip."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("pack")
    shutil.copytree(published, folder / "zip")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", str(folder / "site"), str(folder / "zip")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"],
        capture_output=True, text=True, cwd=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_registrys_package_installs_with_every_module(site):
    installed = {path.relative_to(site / "wan_director").as_posix() for path in (site / "wan_director").rglob("*.py")}
    wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")}
    left_out = ("tests/", "training/", "benchmarks/", "findings/", "docs/images/", "build/", ".")
    assert installed == {name for name in wanted if not name.startswith(left_out)}


def test_the_installed_command_knows_its_version_nodes_and_workflows(site):
    code = (
        "import wan_director; from wan_director.__main__ import main, version; "
        "print(wan_director.__file__, version()); main(['workflows']); main(['plan', 'tiny_t2v', '--vram', '8GB']); "
        "print(len(wan_director.NODE_CLASS_MAPPINGS))"
    )
    out = run(site, code)
    assert out.startswith(f"{site}/wan_director/__init__.py 0.")
    assert "tiny_t2v" in out and "sample" in out and int(out.splitlines()[-1]) >= 18


def comfy(*words: str, folder: Path, home: Path) -> str:
    """What comfy-cli prints when it is run in a folder; it asks nothing, and its settings stay out of the user's."""
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "DO_NOT_TRACK": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "comfy_cli", "--skip-prompt", "--no-json", "node", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone's files, for a tool that writes into the folder that it is run in."""
    pytest.importorskip("comfy_cli")
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked():
        copy_into(folder, name)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_the_registrys_tool_has_nothing_to_say_against_the_pack(checkout, tmp_path):
    said = comfy("validate", folder=checkout, home=tmp_path)
    assert "All validation checks passed" in said
    assert "Warning" not in said and "warnings" not in said


def test_the_registrys_tool_packs_what_is_for_users(checkout, published, tmp_path):
    (checkout / "node_secrets.log").write_text("ignored by git")
    said = comfy("pack", folder=checkout, home=tmp_path)
    assert "Warning" not in said
    with zipfile.ZipFile(checkout / "node.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == files_in(published)
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".ci", ".github", "tests", "training", "benchmarks", "findings", "Makefile", "CONTRIBUTING.md"}
    assert {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "web", "locales"} <= tops
    # 3.5 MB of these are miniatures of Fun-Control, Wan-Animate-2 and InfiniteTalk, so that their graphs run at once.
    assert (checkout / "node.zip").stat().st_size < 24e6 and len(names) < 1500


@pytest.mark.parametrize(("name", "shape"), [("icon", (1, 1)), ("banner", (21, 9))])
def test_the_registrys_pictures_have_the_shape_that_it_asks_for(name, shape):
    told = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (path,) = re.findall(rf'^{name.title()} = "https://\S+/main/(\S+)"$', told, re.MULTILINE)
    with Image.open(ROOT / path) as picture:
        assert picture.width * shape[1] == picture.height * shape[0]
        assert name != "icon" or picture.width <= 400
    assert (ROOT / path).stat().st_size < 1e6
