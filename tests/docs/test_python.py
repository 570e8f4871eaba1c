"""The page on Python: its code runs as it stands, and the engine needs no node."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest
import torch
import wan_director
from safetensors.torch import save_file

ROOT = Path(wan_director.__file__).resolve().parent
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
TINY = {
    "diffusion_models/wan2.1_t2v_1.3B_fp16": "diffusion_models/wan_director_tiny_demo_t2v",
    "diffusion_models/wan2.2_t2v_high_noise_14B_fp16": "diffusion_models/wan_director_tiny_demo_t2v",
    "diffusion_models/wan2.2_t2v_low_noise_14B_fp16": "diffusion_models/wan_director_tiny_demo_t2v",
    "text_encoders/umt5_xxl_fp8_e4m3fn_scaled": "text_encoders/wan_director_tiny_demo_text_encoder",
    "vae/wan_2.1_vae": "vae/wan_director_tiny_demo_vae",
}
"""The page names the published files; the tests have the tiny model's under those names."""
MAKE = """
import pickle, sys
from pathlib import Path
import torch
from wan_director.common.shapes import VideoShape
from wan_director.engine import Conditioning, LocalRuntime, SamplerSettings, decode, embed_prompt, empty_latent
from wan_director.engine import load_model, place, run_sampler

def make(model_recipe, encoder_recipe, vae_recipe):
    runtime = LocalRuntime("cpu")
    model, encoder, vae = load_model(model_recipe, runtime), place(encoder_recipe, runtime), place(vae_recipe, runtime)
    sides = [Conditioning(embed_prompt(encoder, prompt)) for prompt in ("a red circle", "")]
    latent = empty_latent(model.spec.family, VideoShape(5, 32, 32))
    latent = run_sampler(model, *sides, latent, SamplerSettings(seed=3, steps=3, cfg=3.0))
    return torch.stack(list(decode(vae, vae.spec.family.denormalize(latent))))
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the page's code looks into, from the folder it runs in."""
    for name, tiny in TINY.items():
        file = tmp_path / "models" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((ROOT / "models" / f"{tiny}.safetensors").read_bytes())
    (tmp_path / "models" / "loras").mkdir()
    factors = {
        f"diffusion_model.blocks.{block}.self_attn.q.lora_{name}.weight": torch.full(shape, 0.02)
        for block in range(2)
        for name, shape in (("A", (2, 192)), ("B", (192, 2)))
    }
    save_file(factors, tmp_path / "models" / "loras" / "lightx2v_4steps.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def in_a_new_process(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_code_of_the_page_runs_and_loads_no_node(models):
    assert len(CODE) == 4
    loaded = "import sys; print([name for name in sys.modules if name.startswith('wan_director.nodes')])"
    said = in_a_new_process("\n".join([*CODE, loaded]))
    assert [line.split()[0] for line in said.splitlines()] == ["1", "2", "3", "4", "[]"]
    assert [path.suffix for path in Path("output").iterdir()] == [".mp4"]


def test_a_pickled_recipe_makes_the_same_video_in_a_second_process(models):
    from wan_director.engine import LoraRecipe, LowNoiseRecipe, ModelRecipe

    high, low = (
        models / f"diffusion_models/wan2.2_t2v_{noise}_noise_14B_fp16.safetensors" for noise in ("high", "low")
    )
    lora = LoraRecipe(models / "loras" / "lightx2v_4steps.safetensors", strength=0.7, end=0.5)
    second = LowNoiseRecipe(ModelRecipe(low, precision="fp32"), cfg=2.0, high_steps=1)
    recipes = (
        ModelRecipe(high, precision="fp32", loras=(lora,), low_noise=second),
        ModelRecipe(models / "text_encoders" / "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoder"),
        ModelRecipe(models / "vae" / "wan_2.1_vae.safetensors", "vae"),
    )
    Path("recipes").write_bytes(pickle.dumps(recipes))
    assert len(Path("recipes").read_bytes()) < 3000
    in_a_new_process(f"{MAKE}\ntorch.save(make(*pickle.loads(Path('recipes').read_bytes())), 'frames.pt')")
    Path("make.py").write_text(MAKE, encoding="utf-8")
    make = run_path("make.py")["make"]
    frames = make(*recipes)
    assert torch.equal(torch.load("frames.pt", weights_only=True), frames) and frames.std() > 0.01
    plain = make(ModelRecipe(high, precision="fp32"), *recipes[1:])
    assert not torch.equal(plain, frames)


@pytest.mark.parametrize(("changes", "sentence"), [({"kind": "nonsense"}, "kind"), ({"device": "moon"}, "device")])
def test_a_recipe_of_nothing_is_refused_in_a_sentence(models, changes, sentence):
    from wan_director.common.errors import InvalidInputError
    from wan_director.engine import LocalRuntime, ModelRecipe, place

    recipe = ModelRecipe(models / "vae" / "wan_2.1_vae.safetensors", **{"kind": "vae", **changes})
    with pytest.raises(InvalidInputError, match=f"The {sentence} of a recipe is one of .*, got '(nonsense|moon)'"):
        place(recipe, LocalRuntime("cpu"))
