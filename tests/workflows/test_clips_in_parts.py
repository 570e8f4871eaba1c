"""The example workflows that make a long clip in parts, each of which goes on from the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_director.nodes.text import OFFICIAL_NEGATIVE

from .test_workflows import ANIMATED, DOWNLOADED, IN_PARTS, OFFICIAL, ROOT, SAVERS, SPOKEN, TALKING, of_class, prompt


@pytest.mark.parametrize(("name", "expected"), ANIMATED.items())
def test_chunks_of_wan_animate_2_have_the_settings_of_its_templates(name, expected):
    path = ROOT / "workflows" / f"{name}.json"
    settings, shape, fps = expected
    samplers, chunks = of_class(path, "WanDirectorSampler"), of_class(path, "WanDirectorAnimate2")
    assert len(samplers) == len(chunks) == (2 if "long" in name else 1)
    assert len({sampler["seed"] for sampler in samplers}) == len(samplers)
    for sampler, chunk in zip(samplers, chunks):
        assert tuple(sampler[key] for key in ("steps", "cfg", "shift", "solver", "schedule")) == settings
        assert tuple(chunk[key] for key in ("width", "height", "frames")) == shape
        assert {"clip_vision", "clip_vision_pose", "positive_pose"} <= set(chunk)
    (film,), (saver,) = of_class(path, "WanDirectorLoadVideo"), of_class(path, *SAVERS)
    assert (film["frames"], film["fps"], saver["fps"]) == (len(chunks) * (shape[2] - 1) + 1, fps, fps)
    assert [lora["strength"] for lora in of_class(path, "WanDirectorLora")] == ([] if "long" in name else [1])
    assert all(text["negative"] == OFFICIAL_NEGATIVE for text in of_class(path, "WanDirectorTextEncode"))
    for earlier, later in zip(chunks, chunks[1:]):
        assert "continue_motion" not in earlier and isinstance(later["video_frame_offset"], list)
    assert all((join["overlap"], join["blend"]) == (1, "frames of a") for join in of_class(path, "WanDirectorJoin"))


@pytest.mark.parametrize(("name", "expected"), TALKING.items())
def test_chunks_go_on_from_frames_with_one_sound(name, expected):
    path = ROOT / "workflows" / f"{name}.json"
    settings, size, fps = expected
    samplers, (first, second) = of_class(path, "WanDirectorSampler"), of_class(path, "WanDirectorInfiniteTalk")
    for sampler in samplers:
        assert tuple(sampler[key] for key in ("steps", "cfg", "shift", "solver", "schedule")) == settings
    assert len(samplers) == len({sampler["seed"] for sampler in samplers}) == 2
    assert {tuple(chunk[key] for key in ("width", "height", "frames")) for chunk in (first, second)} == {size}
    assert all(first[key] == second[key] for key in ("audio", "start_image", "audio_scale", "motion_frames"))
    (join,), (saver,), (heard,) = (of_class(path, kind) for kind in ("WanDirectorJoin", SAVERS[0], _ENCODE))
    assert "previous_frames" not in first and second["previous_frames"] == join["clip_a"]
    assert (join["overlap"], join["blend"]) == (second["motion_frames"], "frames of a") == (9, "frames of a")
    assert heard["audio"] == saver["audio"] and saver["fps"] == fps
    (text,) = of_class(path, "WanDirectorTextEncode")
    assert text["negative"] == OFFICIAL_NEGATIVE


_ENCODE = "WanDirectorAudioEncode"


@pytest.mark.parametrize(("name", "expected"), SPOKEN.items())
def test_chunks_go_on_with_one_sound_and_save_it(name, expected):
    path = ROOT / "workflows" / f"{name}.json"
    settings, size, fps = expected
    graph = prompt(path)
    chunks = {id: node["inputs"] for id, node in graph.items() if node["class_type"] == "WanDirectorSpeechToVideo"}
    samplers = {id: node["inputs"] for id, node in graph.items() if node["class_type"] == "WanDirectorSampler"}
    for sampler in samplers.values():
        assert tuple(sampler[key] for key in ("steps", "cfg", "shift", "solver", "schedule")) == settings
    assert len(chunks) == len(samplers) == len({sampler["seed"] for sampler in samplers.values()}) == 2
    assert {tuple(chunk[key] for key in ("width", "height", "frames")) for chunk in chunks.values()} == {size}
    (first, second) = chunks.values()
    assert "previous" not in first and graph[second["previous"][0]]["class_type"] == "WanDirectorSampler"
    assert first["audio"] == second["audio"] and first["reference_image"] == second["reference_image"]
    (heard,), (saver,), (cut,) = (
        of_class(path, kind) for kind in ("WanDirectorAudioEncode", "WanDirectorSaveVideo", "ImageFromBatch")
    )
    assert heard["audio"] == saver["audio"] and saver["fps"] == fps
    assert (cut["batch_index"], cut["length"]) == (4, 4096)  # a latent frame in front, of which nothing is to be seen
    (text,) = of_class(path, "WanDirectorTextEncode")
    assert text["negative"] == OFFICIAL_NEGATIVE


@pytest.mark.parametrize(("name", "model"), IN_PARTS.items())
def test_parts_have_the_settings_of_their_model_and_join_where_they_overlap(name: str, model: str):
    path = ROOT / "workflows" / f"{name}.json"
    settings, shape, fps = OFFICIAL[model]
    samplers, parts = of_class(path, "WanDirectorSampler"), of_class(path, "WanDirectorScail")
    assert len({sampler["seed"] for sampler in samplers}) == len(samplers) == len(parts) == 2
    for sampler, part in zip(samplers, parts):
        assert tuple(sampler[key] for key in ("steps", "cfg", "shift", "solver", "schedule", "denoise")) == (
            *settings,
            1,
        )
        assert (part["width"], part["height"], part["frames"]) == shape
    ((join,), (saver,)) = (of_class(path, kind) for kind in ("WanDirectorJoin", SAVERS[0]))
    assert join["overlap"] == parts[1]["previous_frame_count"] == 5 and saver["fps"] == fps
    assert (parts[0]["video_frame_offset"], parts[1]["video_frame_offset"]) == (0, shape[2])
    films = of_class(path, "WanDirectorLoadVideo")
    assert all((film["frames"], film["fps"]) == (2 * shape[2] - join["overlap"], fps) for film in films)


@pytest.mark.parametrize("path", [path for path in DOWNLOADED if "scail2" in path.stem], ids=lambda path: path.stem)
def test_scail_has_both_loras_and_one_mode(path: Path):
    loras = {lora["lora_name"]: lora["strength"] for lora in of_class(path, "WanDirectorLora")}
    assert loras == {
        "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors": 0.8,
        "wan2.1_SCAIL_2_DPO_lora_bf16.safetensors": 1,
    }
    nodes = of_class(path, "WanDirectorScail", "WanDirectorColouredMasks")
    assert {each["replacement_mode"] for each in nodes} == {path.stem == "scail2_replacement"}
