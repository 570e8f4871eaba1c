"""A plan is the run itself on tensors without values: the same nodes, the same jobs, and nothing else happens."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
import wan_director
from PIL import Image
from safetensors.torch import save_file
from wan_director.audio_encoder import working_bytes
from wan_director.common.errors import InvalidInputError
from wan_director.common.shapes import VideoShape
from wan_director.engine.embed import embed_prompt
from wan_director.engine.local import LocalRuntime
from wan_director.engine.memory import Job
from wan_director.engine.runtime import Work
from wan_director.media.video_writing import save_video
from wan_director.memory.budget import GB
from wan_director.nodes.api import io
from wan_director.nodes.headless.checks import check_graph
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.graph import parse_graph
from wan_director.nodes.headless.runner import run_graph
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import host, use_host
from wan_director.nodes.planning.plan import machine, plan_graph, plan_prompt
from wan_director.nodes.planning.recording import Recording, record_run
from wan_director.nodes.planning.stages import find_stages
from wan_director.nodes.planning.unknown import ASSUMPTIONS

from ..conftest import HEARING, save_experts
from ..headless.conftest import node
from .directing import DIRECTING
from .graphs import GRAPHS, LONG, t2v, to_video
from .native_graphs import everything_else, native, written

CLASSES = {**CORE_NODES, **wan_director.NODE_CLASS_MAPPINGS}


class NotingRuntime(LocalRuntime):
    """Runs everything, and notes it."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.jobs: list[Job] = []

    def perform(self, work: Work):
        self.jobs += work.jobs
        return super().perform(work)


@pytest.fixture
def noting(models: Path, tmp_path: Path) -> HeadlessHost:
    from wan_director.nodes.headless.model_paths import models_in

    made = HeadlessHost(models_in(models), (tmp_path,), tmp_path / "output", NotingRuntime())
    use_host(made)
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "start.png")
    clip = torch.rand(9, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    place = made.save_place("clip", 64, 48)
    (file,) = save_video(clip, place, format="mp4-h264", fps=16, quality=80, metadata={})
    file.rename(tmp_path / "clip.mp4")
    kept = {"latent_tensor": torch.zeros(1, 16, 3, 12, 8), "latent_format_version_0": torch.tensor([])}
    save_file(kept, tmp_path / "kept.latent")
    return made


def recorded(prompt: dict) -> Recording:
    graph = check_graph(parse_graph(prompt, CLASSES), CLASSES)
    return record_run(graph, CLASSES, ASSUMPTIONS[0], host().runtime.device)


@pytest.mark.parametrize("name", {**GRAPHS, **DIRECTING})
def test_the_jobs_of_a_plan_are_those_of_the_run(name, noting, models):
    save_experts(models)
    (models / "loras").mkdir(exist_ok=True)
    factors = {f"diffusion_model.blocks.0.ffn.0.lora_{side}.weight": torch.zeros(4, 48) for side in "A"}
    factors["diffusion_model.blocks.0.ffn.0.lora_B.weight"] = torch.zeros(64, 4)
    save_file(factors, models / "loras" / "noted.safetensors")
    make = {**GRAPHS, **DIRECTING}[name]
    made = recorded(make())
    assert not made.passed_over and not made.has_guessed and not noting.runtime.jobs
    run_graph(parse_graph(make(), CLASSES), CLASSES)
    planned, run = [noted.job for noted in made.stages], noting.runtime.jobs
    assert len(planned) == len(run) > 2
    for ours, theirs in zip(planned, run):
        facts = ("kind", "recipe", "spec", "memory", "video", "passes", "is_on_cpu")
        assert [getattr(ours, each) for each in facts] == [getattr(theirs, each) for each in facts]
        # A slab aligns its tensors, of which a header does not tell; of a LoRA the header counts too.
        assert len(ours.weights.blocks) == len(theirs.weights.blocks)
        assert all(0 <= there - here < 256 * 60 for here, there in zip(ours.weights.blocks, theirs.weights.blocks))
        assert 0 <= ours.weights.total - theirs.weights.total < (400 if name == "lora" and ours.kind == "sample" else 1)
        for each in ("itemsize", "unpacking", "fp32_residual"):
            assert getattr(ours.weights, each) == getattr(theirs.weights, each)
        # With the same weights everything is the same number.
        assert ours.make_task(theirs.weights, ours.video) == theirs.task
        smaller = VideoShape(5, 32, 32)
        assert ours.make_task(theirs.weights, smaller) == theirs.task_of(smaller)


def test_a_node_that_nobody_knew_is_planned_without_a_table(noting):
    class WanDirectorBoth(io.ComfyNode):
        """Encodes a prompt, and repeats a picture as a clip that it encodes too."""

        @classmethod
        def define_schema(cls):
            inputs = [io.Clip.Input("clip"), io.Vae.Input("vae"), io.Image.Input("image")]
            return io.Schema(node_id="WanDirectorBoth", inputs=inputs, outputs=[io.Latent.Output()])

        @classmethod
        def execute(cls, clip, vae, image):
            embed_prompt(clip.placed, LONG, clip.memory)
            assert image.shape == (1, 60, 80, 3)
            return io.NodeOutput({"samples": vae.encode(image[:, :48, :64].repeat(5, 1, 1, 1))})

    prompt = t2v()
    prompt["picture"] = node("LoadImage", image="start.png")
    prompt["size"] = node("WanDirectorBoth", clip=["encoder", 0], vae=["vae", 0], image=["picture", 0])
    classes = {**CLASSES, "WanDirectorBoth": WanDirectorBoth}
    stages = find_stages(parse_graph(prompt, classes), node_classes=classes).stages
    assert [(stage.kind, stage.job.video) for stage in stages] == [
        ("text", None), ("encode", (5, 48, 64)), ("sample", (5, 48, 64)), ("decode", (5, 48, 64)),
    ]  # fmt: skip
    assert stages[1].node.class_type == "WanDirectorBoth" and stages[1].loader.class_type == "WanDirectorLoadVAE"


def test_a_node_that_asks_for_values_is_named_and_the_rest_is_planned(noting):
    class Brightest(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(
                node_id="Brightest",
                inputs=[io.Image.Input("images")],
                outputs=[io.Float.Output(), io.Image.Output()],
            )

        @classmethod
        def execute(cls, images):
            return io.NodeOutput(float(images.max()), images)

    class Stumbling(Brightest):
        @classmethod
        def execute(cls, images):
            return io.NodeOutput(1.0, images[images > 0.5])

    for kind in (Brightest, Stumbling):
        prompt = t2v()
        prompt["size"]["inputs"]["batch_size"] = 1
        prompt["odd"] = node("Brightest", images=["decode", 0])
        prompt["again"] = node("WanDirectorEncode", vae=["vae", 0], images=["odd", 1])
        prompt["save"]["inputs"] |= {"images": ["odd", 1], "fps": ["odd", 0]}
        classes = {**CLASSES, "Brightest": kind}
        made = plan_graph(parse_graph(prompt, classes), machine(8 * GB), node_classes=classes)
        # What it is given comes out of it, as far as a plan can tell.
        assert [planned.stage.kind for planned in made.stages] == ["text", "encode", "sample", "decode"]
        assert "not known here: Brightest (node odd): Brightest." in made.text


def test_every_node_is_planned_in_a_graph_that_runs(noting, monkeypatch):
    """Each node of the pack and each of ComfyUI's that the command line knows, in one graph or another."""
    seen: set[str] = set()
    for name, kind in CLASSES.items():

        def execute(cls, *args, _own=kind.execute.__func__, _name=name, **inputs):
            seen.add(_name)
            return _own(cls, *args, **inputs)

        monkeypatch.setattr(kind, "execute", classmethod(execute))
    for make in (*GRAPHS.values(), *DIRECTING.values()):
        prompt = make()
        assert not recorded_loosely(prompt).passed_over
    for make in (native, everything_else, written):
        made = recorded_loosely(make())
        assert not made.passed_over and not made.has_guessed
    # These want a file of their format, and load it as the others do; test_upscale_models.py plans the last two.
    of_files = {"UnetLoaderGGUF", "CLIPLoaderGGUF", "UpscaleModelLoader", "ImageUpscaleWithModel"}
    of_tracks = {"SCAIL2ColoredMask"}  # which no node here gives
    # test_animate2.py and test_decode_rgba.py plan these with models of their own, test_core_stitch.py has no model.
    elsewhere = {
        "WanAnimate2ToVideo", "WanDirectorAnimate2", "WanDirectorPoseCache", "WanAnimate2Cache",
        "WanDirectorDecodeRGBA", "ImageStitch",
    }  # fmt: skip
    # In graphs that ComfyUI ships, which test_template_table.py plans.
    shipped = {
        "AudioConcat", "Painter", "LatentCutToBatch", "RebatchImages", "WanDancerPadKeyframes",
        "WanDancerPadKeyframesList", "WanDirectorDancePart", "StartLoop", "EndLoop", "CreateList", "GetItemFromList",
    }  # fmt: skip
    # test_planned_training.py plans a training; clips are prepared without a model, a job is planned by its queue.
    unplanned = {
        "WanDirectorDataset", "WanDirectorTrainLora", "WanDirectorPrepareClips", "WanDirectorSubmit",
        "WanDirectorFetch",
    }  # fmt: skip
    assert CLASSES.keys() - seen == of_files | of_tracks | elsewhere | shipped | unplanned


def test_an_edit_counts_the_passes_of_both_texts(noting):
    """The search for the mask with three noises; two steps with a source and two without, of 4 * 0.6."""
    stages = recorded(DIRECTING["edited"]()).stages
    passes = [(stage.job.passes, stage.job.run_work.passes) for stage in stages if stage.job.kind == "sample"]
    assert passes == [(4, 12), (4, 8), (3, 6)]


def test_a_picture_that_reasons_is_planned_with_both_clips(noting):
    stages = recorded(DIRECTING["edited_picture"]()).stages
    planned = [
        (stage.job.video.frames, stage.job.passes, stage.job.run_work.passes)
        for stage in stages
        if stage.job.kind == "sample"
    ]
    assert planned == [(29, 2, 4), (5, 2, 4)]


def recorded_loosely(prompt: dict) -> Recording:
    """Without asking whether files can be written."""
    return record_run(parse_graph(prompt, CLASSES), CLASSES, ASSUMPTIONS[0], host().runtime.device)


def test_only_the_branch_that_is_taken_is_planned(noting):
    prompt = t2v()
    prompt["other"] = node("WanDirectorLoadVAE", vae_name="wan_2.1_vae.safetensors")
    prompt["far"] = node("WanDirectorDecode", vae=["other", 0], latent=["sample", 0])
    prompt["switch"] = node("ComfySwitchNode", switch=["yes", 0], on_true=["decode", 0], on_false=["far", 0])
    prompt["yes"] = node("PrimitiveBoolean", value=True)
    prompt["save"]["inputs"]["images"] = ["switch", 0]
    stages = find_stages(parse_graph(prompt, CLASSES)).stages
    assert [stage.file for stage in stages if stage.kind == "decode"] == ["vae.safetensors"]


def test_a_plan_writes_nothing_and_starts_no_encoder(noting, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("written")

    monkeypatch.setattr("wan_director.nodes.saving.result.save_video", refuse)
    monkeypatch.setattr("wan_director.nodes.saving.rescue.save_video", refuse)
    monkeypatch.setattr("wan_director.media.encoder.Encoder.__init__", refuse)
    for make in (t2v, to_video):
        made = recorded_loosely(make())
        assert not made.passed_over
        (decode,) = {noted.job.task.host_bytes for noted in made.stages if noted.job.kind == "decode"}
        assert (decode == 0) is (make is to_video)
    recorded_loosely(everything_else() | {"nowhere": node("LoadImage", image="start.png")})
    left = {path for path in noting.output.rglob("*") if path.is_file()}
    assert not left


def test_a_plan_leaves_no_trace_even_after_a_refusal(noting):
    before = host()
    prompt = t2v()
    prompt["size"]["inputs"]["frames"] = 8
    with pytest.raises(InvalidInputError, match=r"\(node size\): A clip has 1 \+ 4k frames, got 8"):
        find_stages(parse_graph(prompt, CLASSES))
    assert host() is before and not torch.overrides._get_current_function_mode_stack()
    assert torch.zeros(1000, 1000).sum() == 0 and not list(before.runtime.models)


def test_other_threads_see_nothing_of_a_plan(noting):
    """As server threads beside a running Wan Memory: their host and their tensors are the process's."""
    seen, asked, answered = [], threading.Event(), threading.Event()

    def other() -> None:
        asked.wait(10)
        seen.append((host(), torch.zeros(300, 300).is_meta))
        answered.set()

    class Waiting(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Waiting", inputs=[io.Image.Input("images")], is_output_node=True)

        @classmethod
        def execute(cls, images):
            asked.set()
            assert answered.wait(10) and host() is not noting and torch.zeros(300, 300).is_meta
            return io.NodeOutput()

    thread = threading.Thread(target=other)
    thread.start()
    classes = {**CLASSES, "Waiting": Waiting}
    prompt = {"1": node("LoadImage", image="start.png"), "2": node("Waiting", images=["1", 0])}
    made = record_run(parse_graph(prompt, classes), classes, ASSUMPTIONS[0], noting.runtime.device)
    thread.join()
    assert not made.passed_over and seen == [(noting, False)]


def test_models_of_comfyui_are_named_and_what_is_ours_is_planned(noting):
    """Text encoder and VAE are ComfyUI's, the video model is ours."""
    use_host(HeadlessHost(runtime=LocalRuntime("cpu")))
    prompt = t2v("wan2.1_t2v_14B_fp16.safetensors")
    prompt["vae"] = node("VAELoader", vae_name="wan_2.1_vae.safetensors")
    prompt["encoder"] = node("CLIPLoader", clip_name="umt5_xxl_fp16.safetensors", type="wan")
    prompt["save"] = node("SaveWEBM", images=["decode", 0])
    prompt["sample"]["inputs"]["latent"] = ["size", 0]
    prompt["odd"] = node("SomebodysLatent", "Odd", latent=["size", 0])
    prompt["sample"]["inputs"]["latent"] = ["odd", 0]
    from wan_director.nodes.headless.graph.api_format import api_graph

    found = find_stages(api_graph(prompt))
    assert [(stage.kind, stage.job.video) for stage in found.stages] == [("sample", (9, 96, 64))]
    assert [each.id for each in found.passed_over] == ["text", "decode", "odd"]


def test_the_plan_of_a_14b_workflow_is_quick_and_takes_no_memory(monkeypatch):
    class Card(LocalRuntime):
        def available_bytes(self, device):
            return 24 * GB

    use_host(HeadlessHost(runtime=Card("cpu")))
    prompt = t2v("wan2.1_t2v_14B_fp16.safetensors", "umt5_xxl_fp16.safetensors", "wan_2.1_vae.safetensors")
    prompt["size"]["inputs"] |= {"width": 1280, "height": 720, "frames": 81}

    def refuse(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("wan_director.model_loading.build.open_checkpoint", refuse)
    began = time.process_time()
    assert [planned.stage.kind for planned in plan_prompt(prompt).stages] == ["text", "sample", "decode"]
    assert time.process_time() - began < 5, "usually a tenth of a second"


def test_a_sound_that_is_not_here_is_planned_as_one_of_ten_seconds(noting):
    prompt = DIRECTING["spoken"]()
    del prompt["sound"]
    prompt["voice"] = node("LoadAudio", audio="later.wav")
    for id in ("heard", "save"):
        prompt[id]["inputs"]["audio"] = ["voice", 0]
    made = recorded_loosely(prompt)
    assert made.has_guessed and not made.passed_over
    (heard,) = {stage.job.task.ways[0].working_bytes for stage in made.stages if stage.job.kind == "sound"}
    assert heard == working_bytes(160_000, HEARING, 4)
