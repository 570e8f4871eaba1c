"""How many clips of the bundled model keep a colour that the negative prompt names, at cfg 1, with and without NAG.

    python -m wan_director.benchmarks.nag [CLIPS] [SEED]

Text to video at cfg 1, where the negative prompt is not asked: prompts that name two colours, of which the model takes
the last, red, and a negative prompt that names red. The same scenes and noise in every row; row 1 is without normalized
attention guidance.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from wan_director.common.families import TINY
from wan_director.dit.inputs import Conditioning
from wan_director.sampling.ask import AvoidedText
from wan_director.sampling.denoiser import Denoiser
from wan_director.sampling.guidance import CFG, AttentionGuidance
from wan_director.sampling.loop import begin, sample
from wan_director.sampling.schedule import make_schedule
from wan_director.sampling.solvers import SOLVERS
from wan_director.training.captions import MOTION_PHRASES
from wan_director.training.detector import detect
from wan_director.training.evaluate import DemoModel, Trial
from wan_director.training.scenes import Scene, sample_scene

TRIAL = Trial("NAG", 24, steps=8, cfg=1.0)
BACKGROUNDS = ("white", "black", "gray", "yellow", "green")
"""Those that stand out from red and from blue."""
SETTINGS = ((1.0, 0.25, 2.5), (11.0, 0.25, 2.5), (11.0, 0.5, 2.5))
"""Scale, alpha and tau of each row; a scale of 1 is off."""


def scenes(count: int, seed: int) -> list[Scene]:
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        scene = sample_scene(rng, held_out=True, aspect=1.0)
        found += [scene] if scene.background in BACKGROUNDS else []
    return found


def caption(scene: Scene) -> str:
    return f"a blue or red {scene.shape} {MOTION_PHRASES[scene.motion][0]} on a {scene.background} background"


def avoided(scene: Scene) -> str:
    """Red, and not the background: what a negative prompt names is what the video is led away from."""
    return f"a red {scene.shape} {MOTION_PHRASES[scene.motion][0]}"


@torch.no_grad()
def main(count: int = TRIAL.count, seed: int = 17) -> None:
    torch.set_num_threads(1)
    model = DemoModel(Path(__file__).resolve().parents[1] / "models")
    shown = scenes(count, seed)
    positive = Conditioning(torch.cat([model.encode_text(caption(scene)) for scene in shown]))
    negative = Conditioning(torch.cat([model.encode_text(avoided(scene)) for scene in shown]))
    schedule, solver = make_schedule("simple", TRIAL.steps, TRIAL.shift), SOLVERS["euler"]
    shape = (count, 16, 1 + (TRIAL.frames - 1) // 4, TRIAL.height // 8, TRIAL.width // 8)
    print(f"scale alpha  tau    red other  none backgr shape motion   %   (n = {count}, seed {seed})")
    for scale, alpha, tau in SETTINGS:
        plain = CFG(TRIAL.cfg)
        guidance = plain if scale == 1.0 else AttentionGuidance(plain, AvoidedText(scale, alpha, tau))
        denoiser = Denoiser(model.t2v, positive, negative, guidance)
        *_, state = sample(denoiser, solver, schedule, begin(solver, schedule, torch.zeros(shape), seed=seed + 1))
        found = [detect(clip) for clip in model.vae.decode(TINY.denormalize(state.latent)).clamp(-1, 1)]
        red, none = (np.mean([each.colour == name for each in found]) for name in ("red", "none"))
        right = (
            np.mean([getattr(f, each) == getattr(s, each) for f, s in zip(found, shown)])
            for each in ("background", "shape", "motion")
        )
        shares = "".join(f"{100 * share:6.0f}" for share in (red, 1 - red - none, none, *right))
        print(f"{scale:5g} {alpha:5g} {tau:4g} {shares}", flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
