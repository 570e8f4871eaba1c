"""What the registry serves can be installed with pip, and then does all that a checkout does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package as pip installs it from the unpacked zip."""
    pytest.importorskip("setuptools")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout")
    folder = tmp_path_factory.mktemp("pack")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = tuple(line for line in lines if line and not line.startswith("#"))
    for name in filter(None, listed.split("\0")):
        if name.startswith(ignored) or not (ROOT / name).is_file():
            continue
        (folder / "zip" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "zip" / name)
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
    left_out = ("tests/", "training/", "benchmarks/", "findings/", "build/", ".")
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
