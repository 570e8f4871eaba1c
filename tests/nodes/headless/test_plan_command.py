"""`wan-director plan`: every example workflow, files that are not here yet, refusals with what would fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import wan_director
from hypothesis import given, settings
from hypothesis import strategies as st
from wan_director.__main__ import main
from wan_director.common.errors import GraphError
from wan_director.common.families import WAN_2_1
from wan_director.common.shapes import VideoShape
from wan_director.dit.presets import PRESETS
from wan_director.engine.local import LocalRuntime
from wan_director.engine.sampling.task import sampling_task
from wan_director.engine.tasks import decoding_task, encoding_task, latent_shape, smaller_videos
from wan_director.memory.budget import GB, example_card
from wan_director.memory.plan import plan, smallest_bytes
from wan_director.model_loading.footprint import STORAGES, bytes_before_download
from wan_director.model_loading.kinds import DIT
from wan_director.model_loading.kinds import VAE as VAE_KIND
from wan_director.model_loading.outline import outline
from wan_director.model_loading.publishing.published import published_outline
from wan_director.nodes.headless.graph import parse_graph, read_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.nodes.planning.plan import machine, parse_size, plan_graph
from wan_director.nodes.planning.stages import find_stages

from ..conftest import HIGH, LOW, save_experts
from .conftest import node

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / "workflows").rglob("*.json"))
VAE = published_outline("wan_2.1_vae.safetensors", VAE_KIND)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs `wan-director plan` where no models are; (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(graph: Path | str, *options: str):
        code = main(["plan", str(graph), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_example_workflow_is_planned_without_its_files(workflow, run):
    options = ("--size", "128x128x9") if re.search("v2v|edit_picture", workflow.name) else ()
    code, out, err = run(workflow, "--vram", "24GB", *options)
    assert (code, err) == (0, "")
    assert out.count("[") == len([line for line in out.splitlines() if "]" in line]) >= 2
    assert "sample" in out and "decode" in out


def test_both_experts_are_planned_and_share_the_ram(run):
    def plan(*options: str) -> list[str]:
        code, out, err = run(ROOT / "workflows" / "t2v_A14B.json", "--vram", "12GB", *options)
        assert (code, err) == (0, "")
        return out.splitlines()

    lines = plan()
    files = [line.split()[0] for line in lines if "wan2.2_t2v" in line]
    assert files == [f"wan2.2_t2v_{noise}_noise_14B_fp16.safetensors" for noise in ("high", "low")]
    assert sum("33 of 40 blocks are swapped in from RAM: 46.4 GB per step" in line for line in lines) == 2
    assert lines[-1] == "RAM: 46.4 GB at most, of which 46.4 GB pinned for swapped blocks."
    # 45 % of 64 GB may be pinned, enough for one: then they take turns in it.
    assert plan("--ram", "64GB")[-1] == "RAM: 23.2 GB of 64.0 GB at most, of which 23.2 GB pinned for swapped blocks."
    assert plan("--ram", "128GB")[-1] == lines[-1].replace("46.4 GB at", "46.4 GB of 128.0 GB at")


def test_two_experts_that_are_cast_while_loading_stay_in_ram_both(run, write):
    graph = json.loads((ROOT / "workflows" / "api" / "t2v_A14B.json").read_text(encoding="utf-8"))
    for name in ("model_name", "text_encoder_name"):
        for loader in [each["inputs"] for each in graph.values() if name in each["inputs"]]:
            loader["precision"] = "fp8_scaled"
    code, out, err = run(write(graph), "--vram", "12GB", "--ram", "24GB")
    assert code == 1 and "29.1 GB of RAM are needed, of 24.0 GB. Use a file that is stored in fp8 or GGUF" in err


def test_each_expert_is_planned_with_its_cfg_and_loras(models, tiny_host, prompt):
    (models / "loras").mkdir(exist_ok=True)
    for name, size in (("one", 1000), ("two", 20_000), ("both", 300_000)):
        (models / "loras" / f"{name}.safetensors").write_bytes(bytes(size))
    for name in ("one", "two", "both"):
        prompt[f"lora {name}"] = node("WanDirectorLora", model=["1", 0], lora_name=f"{name}.safetensors")
    save_experts(models)
    prompt["1"]["inputs"]["model_name"] = HIGH
    prompt["other"] = node("WanDirectorLoadModel", model_name=LOW, precision="auto")
    prompt["lora two"]["inputs"]["model"] = ["other", 0]
    prompt["pair"] = node(
        "WanDirectorExperts", high_noise=["lora one", 0], low_noise=["lora two", 0], low_noise_cfg=1.0
    )
    prompt["lora both"]["inputs"]["model"] = ["pair", 0]
    prompt["6"]["inputs"]["model"] = ["lora both", 0]
    graph = parse_graph(prompt, wan_director.NODE_CLASS_MAPPINGS)
    jobs = [stage.job for stage in find_stages(graph).stages if stage.kind == "sample"]
    assert [job.recipe.path.name for job in jobs] == [HIGH, LOW]
    added = [job.weights.fixed - outline(job.recipe.path, DIT).weights.fixed for job in jobs]
    assert (added, [job.passes for job in jobs]) == ([301_000, 320_000], [2, 1])


def test_both_forms_of_a_workflow_give_one_plan(run):
    name = "i2v_14B_720p.json"
    plans = [run(ROOT / "workflows" / folder / name, "--vram", "8GB") for folder in (".", "api")]
    assert plans[0] == plans[1]
    assert "wan2.1_i2v_720p_14B_fp16.safetensors (32.8 GB, not downloaded yet), 81 frames of 1280 x 720" in plans[0][1]
    assert "40 of 40 blocks are swapped in" in plans[0][1]
    assert "look at the picture" in plans[0][1] and "encode the pictures" in plans[0][1]


def test_loras_are_named_and_counted_before_they_are_downloaded(run):
    (_, with_loras, _), (_, without, _) = (
        run(ROOT / "workflows" / "api" / f"t2v_A14B{end}.json", "--vram", "80GB", "--size", "640x640x81")
        for end in ("_lora_4_steps", "")
    )
    for expert in ("high", "low"):
        lora = f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{expert}_noise.safetensors"
        assert f"    with {lora} (1.2 GB, not downloaded yet)\n" in with_loras
        assert f"wan2.2_t2v_{expert}_noise_14B_fp8_scaled.safetensors (14.3 GB, not downloaded yet)" in with_loras
    assert "weights 43.9 GB" in with_loras and ": 28.1 GB of what is left" in with_loras and "with " not in without


def test_what_does_not_fit_is_refused_after_the_picture(run):
    code, out, err = run(ROOT / "workflows" / "i2v_14B_720p.json", "--vram", "5GB")
    assert code == 1
    assert "does not fit, this is the least it takes" in out
    assert err.startswith("wan-director: Wan Sampler (node ") and err.count("\n") == 1
    assert "does not fit into 4.0 GB" in err and "at most 73 frames" in err and "pixels" in err
    smaller = ("--set", "Wan Image To Video.frames=73")
    assert run(ROOT / "workflows" / "i2v_14B_720p.json", "--vram", "5GB", *smaller)[0] == 0


def test_fp8_is_named_where_it_helps(run):
    too_long = ("--vram", "5GB", "--size", "1280x720x81")
    code, _, err = run(ROOT / "workflows" / "i2v_14B_720p.json", *too_long)
    assert code == 1 and "precision fp8_scaled in Load Wan Model" in err
    cast = ("--set", "Load Wan Model.precision=fp8_scaled")
    assert run(ROOT / "workflows" / "i2v_14B_720p.json", *too_long, *cast)[0] == 0


def test_ram_counts_when_it_is_given(run):
    graph = ROOT / "workflows" / "t2v_14B.json"
    assert run(graph, "--vram", "8GB", "--ram", "32GB")[0] == 0
    code, out, _ = run(graph, "--vram", "8GB", "--ram", "8GB")
    assert code == 0 and "more are read from the file in each step" in out
    code, _, err = run(graph, "--vram", "8GB", "--ram", "8GB", "--set", "Load Wan Model.precision=fp8_scaled")
    assert code == 1 and "of RAM are needed, of 8.0 GB" in err


def test_wan_memory_in_the_workflow_counts(run, write, prompt, models):
    prompt["9"] = {
        "class_type": "WanDirectorMemory",
        "inputs": {"mode": "manual", "blocks_to_swap": 2, "text_encoder": "cpu", "vae_strips": 0},
    }
    for id in ("4", "6"):
        prompt[id]["inputs"]["memory"] = ["9", 0]
    code, out, _ = run(write(prompt), "--vram", "8GB", "--models", str(models))
    assert code == 0
    assert "2 of 2 blocks are swapped in" in out and "on the CPU: takes nothing of the card" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "needs a workflow and --vram"),
        (("--vram", "lots"), "'lots' is no amount of memory"),
        (("--vram", "8GB", "--size", "832x480"), "'832x480' is no size"),
        (("--vram", "8GB", "--size", "832x480x80"), "A clip has 1 + 4k frames, got 80"),
        (("--vram", "8GB", "--set", "1.model_name=mine.safetensors"), "mine.safetensors is not in the models folders"),
        (("--vram", "8GB", "--models", "/nowhere"), "There is no models folder /nowhere"),
    ],
)
def test_a_mistake_is_one_sentence(options, words, run, write, prompt):
    prompt["1"]["inputs"]["model_name"] = "wan2.1_t2v_1.3B_fp16.safetensors"
    prompt["2"]["inputs"]["vae_name"] = "wan_2.1_vae.safetensors"
    prompt["3"]["inputs"]["text_encoder_name"] = "umt5_xxl_fp16.safetensors"
    code, _, err = run(write(prompt), *options)
    assert code == 1 and words in err and err.count("\n") == 1


def test_of_a_picture_that_is_edited_the_length_is_said_with_the_size_that_is_asked_for(run):
    asked = ("edit_picture_chronoedit_14B", "--vram", "24GB")
    size = re.search(r"example.png is there. .* --size (\d+x\d+x5) \(width, .*, or choose a picture", run(*asked)[2])
    assert "5 frames of 832 x 480" in run(*asked, "--size", size[1])[1]


def test_a_size_that_is_not_known_is_asked_for(run, write, prompt, models):
    prompt["0"] = {"class_type": "LoadImage", "inputs": {"image": "nowhere.png"}}
    prompt["5"] = {"class_type": "WanDirectorEncode", "inputs": {"vae": ["2", 0], "images": ["0", 0]}}
    options = ("--vram", "8GB", "--models", str(models))
    code, _, err = run(write(prompt), *options)
    assert code == 1 and "is not known before nowhere.png is there. Give it with --size" in err
    code, out, _ = run(write(prompt), *options, "--size", "64x48x9")
    assert code == 0 and "9 frames of 64 x 48" in out


def test_a_workflow_without_work_is_refused(run, write):
    code, _, err = run(write({"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}), "--vram", "8GB")
    assert code == 1 and "nothing to plan" in err


SILLY = (
    "1x1x1", "16x16x1", "32x32x1", "833x480x81", "832x481x81", "999984x999984x1", "999984x32x999997", "32x32x999997",
    "832x480x80", "0x0x0", "x", "xx", "832x480x81x1", "1e3x480x81", " 832x480x81", "832X480X81",
    "\u0668\u0663\u0662x480x81", "832*480*81", "",
)  # fmt: skip


@pytest.mark.parametrize("size", SILLY)
@pytest.mark.parametrize("name", ["t2v_1.3B", "ti2v_5B"])
def test_every_silly_size_is_planned_or_one_sentence(size, name, run):
    code, out, err = run(ROOT / "workflows" / f"{name}.json", "--vram", "24GB", "--size", size)
    assert code in (0, 1) and err.count("\n") == code and ("wan-director: " in err) == bool(code)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("833x480x81", "The width must be a multiple of 16 pixels, got 833. Use 832 or 848."),
        ("832x481x81", "The height must be a multiple of 16 pixels, got 481. Use 480 or 496."),
        ("1x1x1", "The width must be at least 32 pixels, got 1."),
    ],
)
def test_a_plan_refuses_the_sizes_that_a_run_refuses(size, words, run, write, prompt, models):
    options = ("--vram", "8GB", "--models", str(models))
    code, _, err = run(write(prompt), *options, "--size", size)
    assert code == 1 and words in err
    width, height, frames = map(int, size.split("x"))
    prompt["5"]["inputs"] |= {"width": width, "height": height, "frames": frames}
    code, _, err = run(write(prompt), *options)
    assert code == 1 and words in err
    assert main(["run", str(write(prompt)), "--quiet", "--models", str(models)]) == 1


def test_a_plan_names_the_nodes_that_it_passes_over(models, tiny_host, prompt):
    prompt["9"] = node("KSampler", "Mine\x1b[2J", model=["1", 0])
    prompt["10"] = node("VAELoader")
    prompt["7"]["inputs"]["vae"] = ["10", 0]
    prompt["11"] = node("PreviewImage", images=["7", 0])
    classes = {**wan_director.NODE_CLASS_MAPPINGS, **dict.fromkeys(("KSampler", "VAELoader", "PreviewImage"), object)}
    text = plan_graph(parse_graph(prompt, classes), machine(8 * GB)).text
    assert "Not planned, because what they take is not known here: " in text and "PreviewImage" not in text
    assert all(words in text for words in ("(node 9): KSampler", "(node 10): VAELoader", "(node 7): WanDirectorDecode"))
    assert "\x1b" not in text and text.splitlines()[-1].startswith("RAM: ")


@pytest.mark.parametrize(
    "case",
    [
        ("9", "vae_stripes", 2, "has no input 'vae_stripes'. It has: mode, budget"),
        ("9", "gigabytes", "much", "gigabytes of .* must be FLOAT, got 'much'"),
        ("9", "vae", 3, "vae of .* cannot be '3'. Choose one of: auto, cpu"),
        ("6", "cfg", "high", "cfg of Sampler .* must be FLOAT, got 'high'"),
        ("5", "batch_size", [], "batch_size of Size .* is a list"),
        ("5", "width", "wide", "width of Size .* must be INT, got 'wide'"),
        ("5", "frames", 1e308, "Size .*must be at most 8193 frames"),
    ],
)
def test_values_that_cannot_be_planned_are_refused_as_in_a_run(case, run, write, prompt, models, capsys):
    id, name, value, words = case
    prompt["9"] = node("WanDirectorMemory", mode="auto")
    prompt["6"]["inputs"]["memory"] = ["9", 0]
    prompt[id]["inputs"][name] = value
    code, _, err = run(write(prompt), "--vram", "8GB", "--models", str(models))
    assert code == 1 and re.search(words, err) and err.count("\n") == 1
    assert main(["run", str(write(prompt)), "--quiet", "--models", str(models)]) == 1
    assert capsys.readouterr().err == err


@pytest.mark.parametrize(
    ("id", "name", "value", "words"),
    [
        ("6", "steps", None, "steps of Sampler .* is null"),
        ("6", "solver", "magic", "solver of Sampler .* cannot be 'magic'"),
        ("1", "vace_module", None, "vace_module of .* is null"),
        ("4", "positive", None, "positive of .* is null"),
        ("8", "quality", 1000, "quality of .* must be from 1 to 100"),
        ("8", "images", ["6", 0], "takes IMAGE at 'images', but Sampler"),
        ("7", "vae", None, "takes VAE at 'vae', which is no value"),
        ("6", "speed", 3, "has no input 'speed'"),
    ],
)
def test_a_plan_refuses_the_values_that_a_run_refuses(id, name, value, words, run, write, prompt, models):
    prompt[id]["inputs"][name] = value
    code, out, err = run(write(prompt), "--vram", "8GB", "--models", str(models))
    assert code == 1 and not out and re.search(words, err) and err.count("\n") == 1


def test_a_plan_names_the_vae_of_another_model(run, write, prompt, models, capsys):
    """At the node where it meets the model, in the words of a run."""
    options = ("--vram", "8GB", "--models", str(models))
    for changed, place in (("7", 7), ("2", 6)):
        graph = json.loads(json.dumps(prompt))
        if changed == "7":
            graph["9"] = node("WanDirectorLoadVAE", vae_name="wan21_vae.safetensors", precision="auto")
            graph["7"]["inputs"]["vae"] = ["9", 0]
        else:
            graph["2"]["inputs"]["vae_name"] = "wan21_vae.safetensors"
        code, out, err = run(write(graph), *options)
        assert code == 1 and not out and f"(node {place}): wan21_vae.safetensors " in err
        assert main(["run", str(write(graph)), "--quiet", "--models", str(models)]) == 1
        assert capsys.readouterr().err == err


def test_what_no_result_needs_is_not_planned(run, write, prompt, models):
    options = ("--vram", "8GB", "--models", str(models))
    _, alone, _ = run(write(prompt), *options)
    prompt["20"] = node("WanDirectorLoadVAE", vae_name="wan_2.1_vae.safetensors", precision="auto")
    prompt["21"] = node("WanDirectorDecode", vae=["20", 0], latent=["6", 0])
    assert run(write(prompt), *options) == (0, alone, "")


def test_sizes():
    assert parse_size("832x480x81") == VideoShape(81, 480, 832)
    with pytest.raises(GraphError, match="is no size"):
        parse_size("832x480x-1")


def task(video: VideoShape, preset: str = "t2v-14B", storage: str = "bf16"):
    weights = bytes_before_download(PRESETS[preset], storage)
    return sampling_task(weights, PRESETS[preset], 1, latent_shape(WAN_2_1, video), passes=2, run=0)


videos = st.builds(
    VideoShape,
    frames=st.integers(0, 60).map(lambda count: 1 + 4 * count),
    height=st.integers(2, 60).map(lambda count: 16 * count),
    width=st.integers(2, 90).map(lambda count: 16 * count),
)


@settings(max_examples=15)
@given(videos, st.integers(0, 20), st.sampled_from(sorted(STORAGES)))
def test_a_longer_or_larger_video_never_takes_less(video, more, storage):
    longer = video._replace(frames=video.frames + 4 * more)
    larger = video._replace(height=video.height + 16 * more)
    small = smallest_bytes(task(video, storage=storage))
    assert small <= smallest_bytes(task(longer, storage=storage))
    assert small <= smallest_bytes(task(larger, storage=storage))
    for make in (decoding_task, encoding_task):
        whole = [make(VAE.weights, VAE.spec.config, each).ways[0].working_bytes for each in (video, longer, larger)]
        assert whole[0] <= whole[1] and whole[0] <= whole[2]


@settings(max_examples=25)
@given(videos, st.floats(2, 24), st.floats(0, 12))
def test_more_memory_never_swaps_more(video, small, more):
    choices = [
        plan(task(video), round(size * GB), example_card(8 * GB), pinned_bytes=1 << 50)
        for size in (small, small + more)
    ]
    if choices[0] is not None:
        assert choices[1].swapped <= choices[0].swapped


def test_what_would_fit_fits_and_nothing_more():
    use_host(HeadlessHost())
    limit = 3 * GB
    frames, size = smaller_videos(VideoShape(81, 720, 1280), 16, lambda video: smallest_bytes(task(video)) <= limit)
    count = int(frames.split()[2])
    assert (
        smallest_bytes(task(VideoShape(count, 720, 1280)))
        <= limit
        < smallest_bytes(task(VideoShape(count + 4, 720, 1280)))
    )
    width, _, height = size.split()[2:5]
    assert smallest_bytes(task(VideoShape(81, int(height), int(width)))) <= limit


def test_weights_before_and_after_the_download_are_the_same(models):
    """The bytes of a model known only by its preset, and of a file with these weights."""
    from wan_director.model_loading.footprint import model_bytes
    from wan_director.model_loading.opening import open_checkpoint
    from wan_director.model_loading.recognition.detect import inspect_checkpoint

    checkpoint = open_checkpoint(models / "diffusion_models" / "vace.safetensors")
    spec = inspect_checkpoint(checkpoint)
    for precision, storage in (("bf16", "bf16"), ("fp8_scaled", "fp8")):
        found = model_bytes(checkpoint, spec, precision, "cuda")
        known = bytes_before_download(replace(spec.config), storage)
        assert (found.fixed, found.blocks, found.unpacking) == (known.fixed, known.blocks, known.unpacking)


def test_without_a_gpu_no_card_is_named():
    use_host(HeadlessHost(runtime=LocalRuntime("cpu")))
    graph, _ = read_graph(ROOT / "workflows" / "api" / "tiny_t2v.json", wan_director.NODE_CLASS_MAPPINGS)
    text = plan_graph(graph, machine(8 * GB)._replace(has_gpu=False)).text
    assert text.startswith("Memory of this machine: 8.0 GB. ")
    assert "RTX" not in text
    assert "TFLOP/s" not in text
