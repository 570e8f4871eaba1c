"""Running the models: loading by recipe, memory, devices and progress around the sampling loop. Nodes are a face of it.

`docs/python.md` shows how to use it from Python.
"""

from ..dit.inputs import Conditioning
from ..memory.budget import GB, Budget
from .embed import embed_picture, embed_prompt
from .local import Interrupted, LocalRuntime
from .memory import AUTOMATIC, MemorySettings
from .models import PlacedModel, VideoModel, load_model, place, with_lora, with_low_noise, with_policies
from .recipe import LoraRecipe, LowNoiseRecipe, ModelRecipe
from .resuming.folder import StateFolder
from .resuming.kept import RunsInFolder
from .runtime import Progress, Residence, Runtime
from .sampling.policies import StepPolicies
from .sampling.sample import run_sampler
from .sampling.settings import SamplerSettings, empty_latent
from .vae import decode, encode

__all__ = [
    "AUTOMATIC",
    "Budget",
    "Conditioning",
    "GB",
    "Interrupted",
    "LocalRuntime",
    "LoraRecipe",
    "LowNoiseRecipe",
    "MemorySettings",
    "ModelRecipe",
    "PlacedModel",
    "Progress",
    "Residence",
    "Runtime",
    "RunsInFolder",
    "SamplerSettings",
    "StateFolder",
    "StepPolicies",
    "VideoModel",
    "decode",
    "embed_picture",
    "embed_prompt",
    "empty_latent",
    "encode",
    "load_model",
    "place",
    "run_sampler",
    "with_lora",
    "with_low_noise",
    "with_policies",
]
