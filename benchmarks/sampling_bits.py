"""Do two revisions sample the same bits? Tiny random models, every solver, with what steers them, swapped and not.

`python -m wan_director.benchmarks.sampling_bits REVISION` runs the same cases with that revision of the repository and
with the working tree, and prints how many there are and by how much their latents differ. It fails where they do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import wan_director
from safetensors.torch import load_file, save_file
from torch import Tensor
from wan_director.dit.adapters import Adapter, AppliedAdapter, Change, LowRank
from wan_director.dit.branches.clip import ClipBranch
from wan_director.dit.branches.vace import VaceBranch
from wan_director.dit.conditioning.clip_image import ClipImage
from wan_director.dit.conditioning.start_image import KeyframeImages, keyframe_mask
from wan_director.dit.conditioning.vace import VaceControl
from wan_director.dit.config import DiTConfig
from wan_director.dit.inputs import Conditioning
from wan_director.dit.model import WanDiT
from wan_director.engine.local import LocalRuntime
from wan_director.engine.memory import AUTOMATIC, MemorySettings
from wan_director.engine.models import LowNoiseExpert, VideoModel
from wan_director.engine.sample import SamplerSettings, run_sampler
from wan_director.nodes.headless.model_paths import models_in
from wan_director.nodes.hosts.command_line import HeadlessHost
from wan_director.nodes.hosts.host import use_host
from wan_director.sampling.given import CleanRegion, GivenFrames, NoisyRegion
from wan_director.sampling.prompts import PromptPart, Prompts
from wan_director.sampling.solvers import SOLVERS

ROOT = Path(__file__).resolve().parents[1]
FRAMES, HEIGHT, WIDTH = 3, 6, 8
KINDS: dict[str, dict[str, Any]] = {
    "t2v": {},
    "t2v_low": {},
    "i2v": {"in_channels": 36, "branches": (ClipBranch(64),)},
    "vace": {"branches": (VaceBranch(2),)},
    "ti2v": {"in_channels": 48, "out_channels": 48, "text_dim": 4096},
}
SWAPPED = {
    "resident": AUTOMATIC,
    "swapped": MemorySettings(blocks_to_swap=4, pinned_bytes=10**9),
    "staged": MemorySettings(blocks_to_swap=3, pinned_bytes=0),
}
CFGS = (1.0, 3.0)
EULER = SamplerSettings(seed=3, steps=4, cfg=3.0, shift=5.0, solver="euler", schedule="simple", denoise=1.0)

Case = tuple[str, Callable[[], Tensor]]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; gives its exit code: 0, or 1 where the revisions differ."""
    parser = argparse.ArgumentParser(prog="python -m wan_director.benchmarks.sampling_bits", description=__doc__)
    parser.add_argument("revision", help="of this repository, to compare the working tree with")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder / "models")
        packages = {"revision": folder / "revision", "tree": folder / "tree"}
        _unpack(options.revision, packages["revision"] / "wan_director")
        packages["tree"].mkdir()
        (packages["tree"] / "wan_director").symlink_to(ROOT)
        made = {key: _made_by(package, folder) for key, package in packages.items()}
    return _report(made["revision"], made["tree"])


def _report(expected: dict[str, Tensor], found: dict[str, Tensor]) -> int:
    if expected.keys() != found.keys():
        print(f"Cases of one side only: {sorted(expected.keys() ^ found.keys())}")
        return 1
    differences = {name: float((found[name].double() - value.double()).abs().max()) for name, value in expected.items()}
    other = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    for name in other:
        print(f"{name}: {differences[name]:.3g}")
    print(f"{len(expected)} cases, {len(other)} differ, largest difference {max(differences.values()):g}")
    return 1 if other else 0


def write_models(folder: Path) -> None:
    """Checkpoints of every kind in `KINDS`, with random weights."""
    (folder / "diffusion_models").mkdir(parents=True)
    for seed, (name, changes) in enumerate(KINDS.items()):
        generator = torch.Generator().manual_seed(seed)
        sizes = {"dim": 48, "ffn_dim": 64, "heads": 4, "layers": 4, "text_dim": 128, "text_tokens": 512, "freq_dim": 32}
        module = WanDiT(DiTConfig(**{**sizes, **changes}))
        weights = {
            key: 0.08 * torch.randn(value.shape, generator=generator) + float("norm" in key)
            for key, value in module.state_dict().items()
        }
        family = {} if name == "ti2v" else {"wan_director.family": "tiny"}
        path = folder / "diffusion_models" / f"{name}.safetensors"
        save_file(weights, path, {"wan_director.heads": "4", **family})


def _unpack(revision: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _made_by(package: Path, folder: Path) -> dict[str, Tensor]:
    """The latents of all cases as the package in a folder makes them, by its own script if it has one."""
    output = folder / f"{package.name}.safetensors"
    own = package / "wan_director" / "benchmarks" / "sampling_bits.py"
    script = own if own.is_file() else Path(__file__)
    command = [sys.executable, str(script.resolve()), str(folder / "models"), str(output)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(package)})
    return load_file(output)


def write_latents(models: Path, output: Path) -> None:
    """The latents of all cases by the package that is imported."""
    torch.set_num_threads(1)
    use_host(HeadlessHost(folders=models_in(models), inputs=(models,), output=models, runtime=LocalRuntime("cpu")))
    with torch.inference_mode():
        latents = {name: make().clone() for name, make in cases()}
    assert all(latent.isfinite().all() for latent in latents.values())
    save_file(latents, output)


def cases() -> Iterator[Case]:
    """Every case, by its name."""
    for solver in SOLVERS:
        for cfg in CFGS:
            settings = replace(EULER, solver=solver, cfg=cfg)
            yield f"t2v {solver} cfg {cfg:g}", _run("t2v", settings)
        yield f"i2v {solver}", _run("i2v", settings)
        yield f"experts {solver}", _run("experts", settings, memory=SWAPPED["swapped"])
        yield from _given_cases(solver, settings)
    for cfg in CFGS:
        for kind in ("t2v", "i2v", "vace", "ti2v"):
            for way, memory in SWAPPED.items():
                yield f"{kind} cfg {cfg:g} {way}", _run(kind, replace(EULER, cfg=cfg), memory=memory)
    yield from _other_cases()


def _given_cases(name: str, settings: SamplerSettings) -> Iterator[Case]:
    clean, noise, wide = _latent("t2v", 5), _latent("t2v", 6), _latent("ti2v", 5)
    soft = torch.rand(1, 1, FRAMES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(7))
    first = torch.tensor([True, False, False])
    region = NoisyRegion(clean, soft, noise)
    yield f"noisy region {name}", _run("t2v", settings, latent=clean, noise=noise, given=region)
    yield f"clean region {name}", _run("ti2v", settings, latent=wide, given=CleanRegion(wide, soft))
    yield f"first frame {name}", _run("ti2v", settings, latent=wide, given=GivenFrames(wide, first))


def _other_cases() -> Iterator[Case]:
    for precision in ("bf16", "fp8_scaled", "fp8_compute"):
        for way, memory in SWAPPED.items():
            yield f"t2v {precision} {way}", _run("t2v", EULER, precision=precision, memory=memory)
    for way, memory in SWAPPED.items():
        yield f"lora {way}", _run("lora", EULER, memory=memory)
        yield f"experts with loras {way}", _run("experts with loras", EULER, memory=memory)
        yield f"several prompts {way}", _run("t2v", EULER, sides=_several_prompts(), memory=memory)
    yield "several prompts cfg 1", _run("t2v", replace(EULER, cfg=1.0), sides=_several_prompts())
    for denoise in (0.0, 0.5):
        yield f"denoise {denoise}", _run("t2v", replace(EULER, denoise=denoise), latent=_latent("t2v", 5))
    for sigmas in ([1.0, 0.7, 0.4], [0.8, 0.3, 0.0]):
        yield f"sigmas {sigmas}", _run("t2v", replace(EULER, sigmas=torch.tensor(sigmas)), latent=_latent("t2v", 5))
    yield "batch of 2", _run("t2v", EULER, latent=_latent("t2v", 5, batch=2))
    ends = GivenFrames(_latent("ti2v", 5), torch.tensor([True, False, True]))
    yield "batch of 2, first and last frame", _run("ti2v", EULER, latent=_latent("ti2v", 5, batch=2), given=ends)


def _run(kind: str, settings: SamplerSettings, *, sides: Any = None, precision: Any = "fp32", **more: Any) -> Any:
    def run() -> Tensor:
        model = _model(kind, precision)
        of = {"experts": "t2v", "lora": "t2v", "experts with loras": "t2v"}.get(kind, kind)
        positive, negative = sides or _sides(of)
        latent = more.pop("latent", None)
        latent = torch.zeros_like(_latent(of, 0)) if latent is None else latent
        return run_sampler(model, positive, negative, latent, settings, **more)

    return run


def _model(kind: str, precision: Any) -> VideoModel:
    if kind == "lora":
        return replace(_model("t2v", precision), loras=(_lora(1),))
    if kind.startswith("experts"):
        high, low = _model("t2v", precision), _model("t2v_low", precision)
        if kind == "experts with loras":
            high, low = replace(high, loras=(_lora(1), _lora(2))), replace(low, loras=(_lora(3),))
        return replace(high, low_noise=LowNoiseExpert(low, None, 2))
    loader = wan_director.NODE_CLASS_MAPPINGS["WanDirectorLoadModel"]
    return loader.execute(model_name=f"{kind}.safetensors", precision=precision, attention="auto").args[0]


def _lora(seed: int) -> AppliedAdapter:
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for block in range(4):
        factors = torch.randn(2, 48, generator=generator), torch.randn(48, 2, generator=generator)
        changes[f"blocks.{block}.self_attn.q.weight"] = (Change(LowRank(*factors, 0.1)),)
    return AppliedAdapter(Adapter(f"lora {seed}", changes), 0.7, end=0.6)


def _latent(kind: str, seed: int, batch: int = 1) -> Tensor:
    channels = KINDS[kind].get("out_channels", 16)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, FRAMES, HEIGHT, WIDTH, generator=generator)


def _sides(kind: str) -> tuple[Conditioning, Conditioning]:
    items: tuple[Any, ...] = ()
    if kind == "i2v":
        mask = keyframe_mask((0, -1), 1 + 4 * (FRAMES - 1), HEIGHT, WIDTH)
        generator = torch.Generator().manual_seed(8)
        clips = (torch.randn(1, 17, 64, generator=generator) for _ in range(2))
        items = (KeyframeImages(_latent("t2v", 9), mask), ClipImage(*clips))
    if kind == "vace":
        generator = torch.Generator().manual_seed(8)
        shape = (1, 96, FRAMES, HEIGHT, WIDTH)
        items = tuple(VaceControl(torch.randn(shape, generator=generator), strength) for strength in (1.0, 0.6))
    return Conditioning(_text(kind, 1), items), Conditioning(_text(kind, 2), items)


def _text(kind: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 512, KINDS[kind].get("text_dim", 128), generator=generator)


def _several_prompts() -> tuple[Prompts, Conditioning]:
    mask = torch.rand(1, 1, FRAMES, 1, WIDTH, generator=torch.Generator().manual_seed(4))
    parts = (
        PromptPart(Conditioning(_text("t2v", 1))),
        PromptPart(Conditioning(_text("t2v", 3)), first_sigma=0.95, weight=mask),
        PromptPart(Conditioning(_text("t2v", 4)), last_sigma=0.9, weight=2 - mask),
    )
    return Prompts(parts), Conditioning(_text("t2v", 2))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        write_latents(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        sys.exit(main())
