"""What a run shows of itself: which pictures, how fast, at what cost; and that the run is the same without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.families import TINY, WAN_2_1, Family
from wan_director.common.records import record
from wan_director.common.shapes import LatentShape
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.dit.presets import PRESETS
from wan_director.engine.editing.reasoning import ReasonedPreview
from wan_director.engine.local import LocalRuntime
from wan_director.engine.memory import AUTOMATIC
from wan_director.engine.models import VideoModel, load_model
from wan_director.engine.previews.moving import MovingPicture, PreviewWish, moving
from wan_director.engine.previews.preview import (
    NO_PREVIEW,
    PART_OF_STEP,
    ColourPreview,
    Preview,
    RunShape,
    SharpPreview,
)
from wan_director.engine.previews.wished import wished_preview
from wan_director.engine.progress import Counted
from wan_director.engine.recipe import ModelRecipe
from wan_director.engine.sampling.job import sampling_job
from wan_director.engine.sampling.sample import run_sampler
from wan_director.engine.sampling.settings import SamplerSettings
from wan_director.engine.terminal import UnseenProgress
from wan_director.memory.plan import Task
from wan_director.vae3d.tiny import TinyDecoder, TinyDecoderConfig

SMALL = TinyDecoderConfig(16, widths=(8, 8, 8, 8))
CPU = torch.device("cpu")
SETTINGS = SamplerSettings(seed=3, steps=2, cfg=3.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0)


class Watched(UnseenProgress):
    """Keeps the pictures of a run."""

    def __init__(self, pictures: list[MovingPicture | None]) -> None:
        self._pictures = pictures

    def update(self, done: int, preview: MovingPicture | None = None) -> None:
        self._pictures.append(preview)


class WatchedRuntime(LocalRuntime):
    """One whose user watches."""

    def __init__(self, wish: PreviewWish | None) -> None:
        super().__init__("cpu")
        self.wish = wish
        self.pictures: list[MovingPicture | None] = []

    def preview_wish(self, family: Family) -> PreviewWish | None:
        return self.wish

    def progress(self, counted: Counted) -> UnseenProgress:
        return Watched(self.pictures) if counted.unit == "step" else UnseenProgress()


def save_decoder(path: Path, config: TinyDecoderConfig, family: str | None = None) -> TinyDecoder:
    torch.manual_seed(0)
    decoder = TinyDecoder(config).requires_grad_(False)
    metadata = {} if family is None else {"wan_director.family": family}
    encoder = {"encoder.0.weight": torch.zeros(8, 3, 3, 3)}
    save_file({**decoder.state_dict(), **encoder}, path, metadata)
    return decoder


@pytest.fixture
def decoder_file(tmp_path: Path) -> Path:
    path = tmp_path / "taew2_1.safetensors"
    save_decoder(path, SMALL)
    return path


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    config = DiTConfig(dim=48, ffn_dim=64, heads=4, layers=2, text_dim=4096, freq_dim=32)
    torch.manual_seed(0)
    path = tmp_path / "t2v.safetensors"
    weights = {name: weight * 0.3 for name, weight in WanDiT(config).state_dict().items()}
    save_file(weights, path, {"wan_director.heads": "4"})
    return path


def sampled(path: Path, runtime: LocalRuntime) -> tuple[VideoModel, Tensor]:
    model = load_model(ModelRecipe(path, precision="fp32"), runtime)
    generator = torch.Generator().manual_seed(1)
    sides = [Conditioning(torch.randn(1, 512, 4096, generator=generator)) for _ in range(2)]
    return model, run_sampler(model, *sides, torch.zeros(2, 16, 5, 6, 8), SETTINGS)


@pytest.mark.parametrize("way", ["none", "colours", "sharp"])
@torch.inference_mode()
def test_a_run_that_is_watched_makes_the_same(model_file: Path, decoder_file: Path, way: str) -> None:
    wish = {"none": None, "colours": PreviewWish(512), "sharp": PreviewWish(512, decoder_file)}[way]
    runtime = WatchedRuntime(wish)
    _, latent = sampled(model_file, runtime)
    assert torch.equal(latent, sampled(model_file, LocalRuntime("cpu"))[1])
    shapes = [None if picture is None else tuple(picture.frames.shape) for picture in runtime.pictures]
    expected = {"none": None, "colours": (5, 6, 8, 3), "sharp": (5, 48, 64, 3)}[way]
    assert shapes == [expected] * 2


def sharp(path: Path, side: int = 512) -> SharpPreview:
    made = wished_preview(WatchedRuntime(PreviewWish(side, path)), WAN_2_1)
    assert isinstance(made, SharpPreview)
    return made


@torch.inference_mode()
def test_the_pictures_are_those_of_the_decoder(decoder_file: Path, tmp_path: Path) -> None:
    decoder = save_decoder(tmp_path / "same.safetensors", SMALL)
    latent = torch.randn(1, 16, 3, 4, 5)
    draw = sharp(decoder_file).start(RunShape(LatentShape(16, 3, 4, 5), 0, 0.0), CPU, lambda: None)
    shown = draw(latent)
    assert shown is not None
    expected = torch.stack(list(decoder.stills(latent.unbind(2))), dim=1)[0].movedim(1, -1)
    assert torch.equal(shown.frames, (expected * 255).round().to(torch.uint8))
    assert shown.rate == pytest.approx(16 / 3)  # 3 pictures of 9 frames at 16 a second


def published(path: Path) -> SharpPreview:
    """A preview by a decoder of the published size, of which no weight is needed here."""
    small = sharp(path)
    spec = replace(small.decoder.spec, config=TinyDecoderConfig(16))
    return replace(small, decoder=replace(small.decoder, spec=spec))


@pytest.mark.parametrize(
    ("preset", "passes", "size", "expected"),
    [("t2v-1.3B", 2, (21, 60, 104), 16), ("t2v-1.3B", 1, (21, 60, 104), 8), ("t2v-14B", 1, (21, 60, 104), 21),
     ("t2v-14B", 1, (21, 90, 160), 21), ("t2v-1.3B", 1, (1, 60, 104), 1)],
)  # fmt: skip
def test_as_many_frames_as_take_a_hundredth_of_a_step(
    decoder_file: Path, preset: str, passes: int, size: tuple[int, int, int], expected: int
) -> None:
    frames, height, width = size
    config, preview = PRESETS[preset], published(decoder_file)
    flops = passes * config.layers * config.block_flops(frames * height * width // 4)
    run = RunShape(LatentShape(16, frames, height, width), 0, flops)
    chosen = preview.chosen(run)
    assert len(chosen) == expected
    assert chosen == sorted(set(chosen)) and (expected == 1 or (chosen[0], chosen[-1]) == (0, frames - 1))
    with torch.device("meta"):
        work = TinyDecoder(TinyDecoderConfig(16)).multiply_adds(height, width, is_half=preview.is_half(run.latent))
    assert expected == 1 or 2 * work * expected <= PART_OF_STEP * flops


def test_of_a_video_too_costly_to_show_the_middle_is_shown(decoder_file: Path) -> None:
    assert published(decoder_file).chosen(RunShape(LatentShape(16, 21, 60, 104), 0, 1e9)) == [10]


def test_pictures_twice_as_large_as_what_is_shown_are_made_at_half_the_size(decoder_file: Path) -> None:
    preview = sharp(decoder_file, side=64)
    assert preview.is_half(LatentShape(16, 1, 4, 16)) and not preview.is_half(LatentShape(16, 1, 4, 15))
    draw = preview.start(RunShape(LatentShape(16, 2, 4, 16), 0, 0.0), CPU, lambda: None)
    shown = draw(torch.randn(1, 16, 2, 4, 16))
    assert shown is not None and shown.frames.shape == (2, 16, 64, 3)
    draw = preview.start(RunShape(LatentShape(16, 2, 6, 12), 0, 0.0), CPU, lambda: None)
    shown = draw(torch.randn(1, 16, 2, 6, 12))
    assert shown is not None and shown.frames.shape == (2, 32, 64, 3)


@pytest.mark.parametrize("way", ["colours", "sharp"])
def test_references_before_the_video_are_not_shown(decoder_file: Path, way: str) -> None:
    preview = ColourPreview(WAN_2_1) if way == "colours" else sharp(decoder_file)
    latent, shape = torch.randn(1, 16, 4, 4, 5), LatentShape(16, 4, 4, 5)
    whole = preview.start(RunShape(shape._replace(frames=3), 0, 0.0), CPU, lambda: None)(latent[:, :, 1:])
    after = preview.start(RunShape(shape, 1, 0.0), CPU, lambda: None)(latent)
    assert whole is not None and after is not None and torch.equal(whole.frames, after.frames)


@pytest.mark.parametrize("way", ["colours", "sharp"])
def test_an_edit_that_reasons_shows_the_clip_and_then_its_ends(decoder_file: Path, way: str) -> None:
    preview: Preview = sharp(decoder_file) if way == "sharp" else ColourPreview(WAN_2_1)
    run = RunShape(LatentShape(16, 8, 4, 6), 0, 1e15)
    draw, of_ends = (
        ReasonedPreview(preview).start(run, CPU, lambda: None),
        run._replace(latent=LatentShape(16, 2, 4, 6)),
    )
    denoised = torch.randn(1, 16, 8, 4, 6)
    for clip, shape in ((denoised, run), (denoised[:, :, [0, -1]], of_ends)):
        shown, expected = draw(clip), preview.start(shape, CPU, lambda: None)(clip)
        assert shown is not None and expected is not None and len(shown.frames) == clip.shape[2]
        assert torch.equal(shown.frames, expected.frames) and shown.rate == expected.rate


def test_a_decoder_of_another_model_blurs_the_preview(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "taew2_1.safetensors"
    save_decoder(path, replace(SMALL, latent_channels=48, patch=2))
    made = wished_preview(WatchedRuntime(PreviewWish(512, path)), WAN_2_1)
    assert isinstance(made, ColourPreview)
    assert "is the preview decoder of Wan 2.2 TI2V-5B, and this is a video of Wan 2.1." in caplog.text


def test_a_damaged_decoder_blurs_the_preview(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "taew2_1.safetensors"
    path.write_bytes(b"<!DOCTYPE html>")
    assert isinstance(wished_preview(WatchedRuntime(PreviewWish(512, path)), WAN_2_1), ColourPreview)
    assert "The previews are blurred: taew2_1.safetensors" in caplog.text


@record
class Costly(ColourPreview):
    """One that takes so much between two steps."""

    between_bytes: int = 0

    def working_bytes(self, latent: LatentShape) -> int:
        return self.between_bytes


def test_the_decoder_and_its_work_are_planned(model_file: Path, decoder_file: Path) -> None:
    """The passes of a step take nothing while it is shown: what takes more is planned, not both."""
    model = load_model(ModelRecipe(model_file, precision="fp32"), LocalRuntime("cpu"))
    prompts, latent = [Conditioning(torch.zeros(1, 512, 4096))] * 2, torch.zeros(1, 16, 5, 6, 8)

    def planned(preview: Preview) -> Task:
        return sampling_job(model, prompts, latent, AUTOMATIC, preview=preview).task

    without, decoder = planned(NO_PREVIEW), sharp(decoder_file)
    assert planned(decoder).fixed_bytes - without.fixed_bytes == decoder.weight_bytes > 10_000
    assert planned(Costly(WAN_2_1, between_bytes=1)).ways == without.ways
    way, larger = (planned(Costly(WAN_2_1, between_bytes=size)).ways[0].working_bytes for size in (10**9, 10**9 + 7))
    assert larger - way == 7 and 10**9 < way < 10**9 + without.ways[0].working_bytes


@pytest.mark.parametrize(("count", "duration_s", "rate"), [(21, 5.0, 4.2), (3, 5.0, 4.0), (31, 2.0, 8.0)])
def test_it_moves_at_the_pace_of_the_video_within_bounds(count: int, duration_s: float, rate: float) -> None:
    shown = moving(torch.rand(count, 2, 2, 3), duration_s)
    assert shown.rate == pytest.approx(rate) and shown.frames.dtype == torch.uint8
    assert torch.equal(shown.still, shown.frames[count // 2])


def test_the_bundled_model_has_a_preview_decoder() -> None:
    path = Path(__file__).resolve().parents[2] / "models/vae_approx" / f"{TINY.preview_files[0]}.safetensors"
    assert path.stat().st_size < 300_000
    made = wished_preview(WatchedRuntime(PreviewWish(512, path)), TINY)
    assert isinstance(made, SharpPreview)
    latent = LatentShape(16, 9, 16, 16)
    assert made.chosen(RunShape(latent, 0, 1.0)) == list(range(9))
