"""The workflow of Wan-Dancer: a plan of a song, and a part of the dance."""

from __future__ import annotations

from .test_workflows import OFFICIAL_NEGATIVE, ROOT, SAVERS, of_class

SETTINGS = ((6, 1.0, 5.0, "euler", "simple"), (6, 1.0, 8.0, "euler", "simple"))
"""Of the plan and of the dance, by ComfyUI's template video_wan_dancer with its LoRA."""


def test_a_plan_and_a_dance_have_the_settings_of_their_models():
    path = ROOT / "workflows" / "dancer_14B.json"
    settings, shape, fps = SETTINGS, (720, 1280, 149), 30
    samplers = of_class(path, "WanDirectorSampler")
    kinds = ("steps", "cfg", "shift", "solver", "schedule")
    assert tuple(tuple(each[kind] for kind in kinds) for each in samplers) == settings
    made = [tuple(each[key] for key in ("width", "height", "frames")) for each in of_class(path, "WanDirectorDancer")]
    assert made == [shape] * 2
    parts = of_class(path, "WanDirectorDanceMusic", "WanDirectorDancePart")
    assert [each["frames"] for each in parts] == [shape[2]] * 3
    assert [lora["strength"] for lora in of_class(path, "WanDirectorLora")] == [3.0, 1.03]
    assert [saver["fps"] for saver in of_class(path, *SAVERS)] == [fps]
    texts = of_class(path, "WanDirectorTextEncode")
    assert len(texts) == 2 and all(text["negative"].endswith(OFFICIAL_NEGATIVE) for text in texts)
