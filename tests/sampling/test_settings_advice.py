"""Settings that do not go together are said in words; usual ones, and those that may be meant, are passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.dit.presets import PRESETS
from wan_director.engine.sampling.told.advice import USUAL_SHIFTS, LoraFacts, ModelFacts, RunFacts, advice
from wan_director.model_loading.publishing.few_steps import few_steps_lora, few_steps_model
from wan_director.model_loading.publishing.known_files import KNOWN_FILES, LORAS

KNOWN = LoraFacts("lightx2v.safetensors", 1.0, True, "known")
NAMED = KNOWN._replace(name="my_4steps.safetensors", few_steps="by its name")
STYLE = KNOWN._replace(name="style.safetensors", few_steps=None)
MODEL = ModelFacts("wan2.1_t2v_14B_fp16.safetensors", "t2v-14B", 5.0, None)


def run(steps: int = 50, shift: float | None = 5.0, *models: ModelFacts, from_noise: bool = True) -> list[str]:
    return advice(RunFacts(steps, shift, from_noise, models or (MODEL,)))


def at(cfg: float, *loras: LoraFacts, **changes: object) -> ModelFacts:
    return MODEL._replace(cfg=cfg, loras=loras, **changes)


# The official settings of docs/settings.md and those of ComfyUI's templates: preset, steps, cfg, shift.
OFFICIAL = [
    ("t2v-1.3B", 50, 6.0, 8.0), ("t2v-1.3B", 50, 6.0, 12.0), ("t2v-1.3B", 30, 6.0, 8.0), ("t2v-14B", 50, 5.0, 5.0),
    ("t2v-14B", 40, 4.0, 12.0), ("t2v-14B", 20, 3.5, 8.0), ("i2v-14B", 40, 5.0, 3.0), ("i2v-14B", 20, 6.0, 8.0),
    ("i2v-A14B", 40, 3.5, 5.0), ("i2v-A14B", 20, 4.0, 8.0), ("flf2v-14B", 50, 5.0, 16.0), ("vace-1.3B", 50, 5.0, 16.0),
    ("vace-14B", 20, 6.0, 5.0), ("ti2v-5B", 50, 5.0, 5.0), ("ti2v-5B", 20, 5.0, 8.0), ("fun-inp-1.3B", 20, 6.0, 8.0),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "steps", "cfg", "shift"), OFFICIAL)
def test_official_settings_are_passed_over(preset: str, steps: int, cfg: float, shift: float):
    assert run(steps, shift, at(cfg, preset=preset)) == []
    assert run(steps, shift, at(cfg, STYLE, preset=preset)) == []


@pytest.mark.parametrize("lora", [KNOWN, NAMED])
@pytest.mark.parametrize(("steps", "cfg", "shift"), [(4, 1.0, 5.0), (8, 1.0, 8.0), (6, 2.0, 5.0), (3, 1.0, 1.0)])
def test_few_steps_with_their_lora_are_passed_over(lora: LoraFacts, steps: int, cfg: float, shift: float):
    assert run(steps, shift, at(cfg, lora)) == []
    assert run(steps, shift, at(cfg, STYLE, lora)) == []


def test_many_steps_with_a_lora_for_few_are_told():
    assert run(20, 5.0, at(1.0, KNOWN)) == [
        "20 steps with lightx2v.safetensors, a LoRA for few steps: the picture becomes harsh. Use 4 to 8 steps at cfg "
        "1, or take the LoRA away."
    ]
    (told,) = run(20, 5.0, at(1.0, NAMED))
    assert "my_4steps.safetensors, a LoRA for few steps by its name:" in told


def test_a_weak_lora_or_one_for_a_part_of_the_steps_may_be_meant():
    assert run(20, 5.0, at(1.0, KNOWN._replace(strength=0.3))) == []
    assert run(20, 5.0, at(1.0, KNOWN._replace(for_all_steps=False))) == []


def test_guidance_with_distilled_weights_is_told():
    (told,) = run(4, 5.0, at(5.0, KNOWN))
    assert told.startswith("cfg 5 with lightx2v.safetensors, a LoRA for few steps at cfg 1:")
    (told,) = run(8, 5.0, at(5.0, few_steps="by its name"))
    assert told.endswith("Use cfg 1, or choose the model that is not distilled.")
    assert run(4, 5.0, at(1.0, few_steps="by its name")) == []


def test_each_expert_is_judged_by_its_own_cfg_and_loras():
    """The high-noise expert with guidance and without the LoRA, for more motion, is one that people use."""
    high, low = at(3.5, name="high"), at(1.0, KNOWN, name="low")
    assert run(10, 5.0, high, low) == []
    (told,) = run(10, 5.0, high, low._replace(cfg=3.5))
    assert "cfg 3.5 with lightx2v" in told
    assert len(run(20, 5.0, at(1.0, KNOWN), at(1.0, KNOWN))) == 1, "what is told of both is told once"


def test_few_steps_without_a_lora_for_them_are_told():
    assert run(4, 5.0, at(5.0)) == [
        "4 steps with wan2.1_t2v_14B_fp16.safetensors and no LoRA for few steps: the video stays blurred, unless the "
        "model is distilled, which its name does not say. Use 20 to 50 steps, or a LoRA for 4 steps at cfg 1."
    ]
    assert run(4, 5.0, at(5.0), from_noise=False) == [], "a video that is changed a little needs few"
    assert run(4, 5.0, at(5.0, STYLE)) == [], "nothing tells what an unknown LoRA was trained for"
    assert run(2, 5.0, at(5.0, preset=None)) == [], "nor an unknown model"


@pytest.mark.parametrize("preset", USUAL_SHIFTS)
def test_a_shift_far_from_the_usual_ones_is_told(preset: str):
    low, high = USUAL_SHIFTS[preset]
    assert run(50, low, at(5.0, preset=preset)) == run(50, high, at(5.0, preset=preset)) == []
    (told,) = run(50, low / 2 - 0.1, at(5.0, preset=preset))
    assert told.endswith(f"is laid out: usual are {low:g} to {high:g}.")
    (told,) = run(50, high * 2 + 1, at(5.0, preset=preset))
    assert "details arise" in told
    assert run(50, None, at(5.0, preset=preset)) == [], "noise levels of one's own have no shift"


def test_every_published_size_has_its_usual_shifts():
    assert set(USUAL_SHIFTS) == set(PRESETS)


def test_published_loras_for_few_steps_are_known():
    told = {file.name: few_steps_lora(Path(file.name)) for file in KNOWN_FILES if file.kind is LORAS}
    of_many = ("wan_alpha_2.1_rgba_lora", "wan2.1_SCAIL_2_DPO_lora", "SVI_v2_PRO")
    others = [name for name in told if name.startswith(of_many)]
    assert [told.pop(name) for name in others] == [None] * 4
    assert len(told) == 9 and set(told.values()) == {"known"}


def test_a_renamed_lora_is_told_by_its_size_and_others_by_their_name(tmp_path: Path):
    renamed = tmp_path / "mine.safetensors"
    with renamed.open("wb") as file:
        file.truncate(1_226_977_424)  # that of the Wan 2.2 LoRAs for 4 steps; it takes no room on the disk
    assert few_steps_lora(renamed) == "by its size"
    assert few_steps_lora(tmp_path / "Wan22_Lightning_rank64.safetensors") == "by its name"
    for name in ("style", "hyperreal_portrait", "60steps_training", "dmdance", "lcmotion", "footsteps", "turbine"):
        assert few_steps_lora(tmp_path / f"{name}.safetensors") is None


def test_two_published_models_are_distilled_and_others_may_say_so():
    distilled = {file.name for file in KNOWN_FILES if few_steps_model(Path(file.name)) and file.kind != LORAS}
    assert distilled == {"causal_forcing-framewise.safetensors", "wan_animate_2_distill_int8_convrot.safetensors"}
    assert few_steps_model(Path("causal_forcing-chunkwise.safetensors")) == "by its name"
    assert few_steps_model(Path("Wan2.1-T2V-14B-StepDistill-CfgDistill.safetensors")) == "by its name"
    assert few_steps_model(Path("my_wan_merge.safetensors")) is None
