"""GGUF files appear in the lists of the loaders, though ComfyUI itself lists none."""

from __future__ import annotations

from pathlib import Path

from wan_director.nodes.hosts.command_line import HeadlessHost


def test_gguf_files_are_listed_beside_the_others(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.safetensors", "deep/C.GGUF", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    listed = HeadlessHost(folders={"diffusion_models": [tmp_path]}).model_files("diffusion_models")
    assert {"b.gguf", "a.safetensors", str(Path("deep/C.GGUF"))} <= set(listed)
    assert "notes.txt" not in listed
