"""Names of model files in graphs: inside the models folders, in either spelling, nothing else."""

from __future__ import annotations

import pytest
from wan_director.__main__ import main
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.files.model_files import fingerprint
from wan_director.nodes.files.model_names import model_name

LEADING_OUT = (
    "/etc/passwd",
    "../t2v.safetensors",
    "sub/../../x",
    "..\\x",
    "C:\\x.safetensors",
    "\\\\host\\share",
    "a\0b",
)
EMPTY = ("", ".", "./", "/" * 0, " "[:0], ".\\.")


@pytest.mark.parametrize("name", ["Wan\\t2v.safetensors", "Wan/t2v.safetensors", "./Wan//t2v.safetensors"])
def test_backslashes_mean_slashes(name):
    assert model_name(name) == "Wan/t2v.safetensors"


@pytest.mark.parametrize("name", [*LEADING_OUT, *EMPTY, None, 3, 1.5, True, [], {}, ["t2v.safetensors"]], ids=repr)
def test_names_that_are_none_are_refused(name):
    with pytest.raises(InvalidInputError, match="leads out of the models folders|is empty|by the name of its file"):
        model_name(name)
    assert fingerprint("vae", name) == "missing"


@pytest.mark.parametrize(
    ("id", "widget"), [("1", "model_name"), ("1", "vace_module"), ("2", "vae_name"), ("3", "text_encoder_name")]
)
@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x.safetensors", 3, {}, ["x"], "x" * 5000], ids=ascii)
def test_a_wrong_name_in_a_graph_is_one_sentence(id, widget, name, write, prompt, models, capsys, tmp_path):
    prompt[id]["inputs"][widget] = name
    for command in (["run", "--output", str(tmp_path / "out")], ["plan", "--vram", "8GB"]):
        code = main([command[0], str(write(prompt)), *command[1:], "--models", str(models)])
        err = capsys.readouterr().err.splitlines()
        assert code == 1 and err[-1].startswith("wan-director: ") and "Traceback" not in "".join(err)
    assert not (tmp_path / "out").exists()


def test_a_name_from_windows_is_found_in_its_subfolder(write, prompt, models, capsys, tmp_path):
    (models / "vae" / "Wan").mkdir()
    (models / "vae" / "vae.safetensors").rename(models / "vae" / "Wan" / "vae.safetensors")
    try:
        prompt["2"]["inputs"]["vae_name"] = "Wan\\vae.safetensors"
        assert main(["plan", str(write(prompt)), "--vram", "8GB", "--models", str(models)]) == 0
        prompt["2"]["inputs"]["vae_name"] = "vae.safetensors"
        assert main(["run", str(write(prompt)), "--quiet", "--models", str(models)]) == 1
        assert "but Wan/vae.safetensors is: choose that" in capsys.readouterr().err
    finally:
        (models / "vae" / "Wan" / "vae.safetensors").rename(models / "vae" / "vae.safetensors")
        (models / "vae" / "Wan").rmdir()
