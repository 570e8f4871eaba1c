"""Nodes that choose a sampler, some with settings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .....common.errors import InvalidInputError
from .....sampling.causal.order import ChunkByChunk
from .... import standin as io
from ....api import answer
from .names import LEFT_OUT, SAMPLERS, check_names, solver_named
from .parts import NamedSampler, Sampler


class KSamplerSelect(io.ComfyNode):
    """One of the samplers of KSampler."""

    @classmethod
    def define_schema(cls) -> Any:
        names = io.Combo.Input("sampler_name", options=SAMPLERS, tooltip=f"All but {', '.join(LEFT_OUT)}.")
        return _schema("KSamplerSelect", names)

    @classmethod
    def validate_inputs(cls, sampler_name: str | None = None) -> bool | str:
        return answer(check_names, sampler_name)

    @classmethod
    def execute(cls, sampler_name: str) -> Any:
        return io.NodeOutput(NamedSampler(solver_named(sampler_name)))


class SamplerEulerAncestral(io.ComfyNode):
    """euler_ancestral, or at eta 0 euler."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("SamplerEulerAncestral", *_strengths(advanced=True))

    @classmethod
    def execute(cls, eta: float, s_noise: float) -> Any:
        name = "euler_ancestral" if eta else "euler"
        return io.NodeOutput(_usual(name, {"eta": (eta, 1.0), "s_noise": (s_noise, 1.0)} if eta else {}))


class SamplerDPMPP_2S_Ancestral(io.ComfyNode):  # noqa: N801  (ComfyUI's name)
    """dpmpp_2s_ancestral."""

    @classmethod
    def define_schema(cls) -> Any:
        return _schema("SamplerDPMPP_2S_Ancestral", *_strengths())

    @classmethod
    def execute(cls, eta: float, s_noise: float) -> Any:
        return io.NodeOutput(_usual("dpmpp_2s_ancestral", {"eta": (eta, 1.0), "s_noise": (s_noise, 1.0)}))


class SamplerER_SDE(io.ComfyNode):  # noqa: N801  (ComfyUI's name)
    """er_sde."""

    @classmethod
    def define_schema(cls) -> Any:
        types = ["ER-SDE", "Reverse-time SDE", "ODE"]
        return _schema(
            "SamplerER_SDE",
            io.Combo.Input("solver_type", options=types, tooltip="Here ER-SDE."),
            io.Int.Input("max_stage", default=3, min=1, max=3, advanced=True),
            *_strengths(advanced=True, most_eta=10.0),
        )

    @classmethod
    def execute(cls, solver_type: str, max_stage: int, eta: float, s_noise: float) -> Any:
        usual = {"solver_type": (solver_type, "ER-SDE"), "max_stage": (max_stage, 3)}
        return io.NodeOutput(_usual("er_sde", {**usual, "eta": (eta, 1.0), "s_noise": (s_noise, 1.0)}))


class SamplerARVideo(io.ComfyNode):
    """A causal model makes a video chunk by chunk."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SamplerARVideo",
            display_name="Sampler AR Video",
            category="model/sampling/samplers",
            inputs=[
                io.Int.Input(
                    "num_frame_per_block",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Latent frames of a chunk: 1 for framewise models, 3 for chunkwise ones.",
                )
            ],
            outputs=[Sampler.Output()],
        )

    @classmethod
    def execute(cls, num_frame_per_block: int) -> Any:
        return io.NodeOutput(chunk_by_chunk(num_frame_per_block))


def chunk_by_chunk(frames: int = 1) -> NamedSampler:
    """ComfyUI's ar_video, whose steps draw their noise from the run's own seed."""
    return NamedSampler("lcm", ChunkByChunk(frames, step_seed=0))


def _schema(name: str, *inputs: Any) -> Any:
    return io.Schema(node_id=name, category="model/sampling/samplers", inputs=list(inputs), outputs=[Sampler.Output()])


def _strengths(*, advanced: bool | None = None, most_eta: float = 100.0) -> list[Any]:
    """How much noise is drawn anew in a step, and how strong it is."""
    common = {"default": 1.0, "min": 0.0, "step": 0.01, "round": False, "advanced": advanced, "tooltip": "Here 1."}
    return [
        io.Float.Input("eta", max=most_eta, **common),
        io.Float.Input("s_noise", max=100.0, **common),
    ]


def _usual(sampler: str, settings: Mapping[str, tuple[Any, Any]]) -> NamedSampler:
    """A sampler whose settings are the usual ones; `settings`: name -> (value, the usual one).

    Raises:
        InvalidInputError: one of them is another one.
    """
    for name, (value, usual) in settings.items():
        if value != usual:
            raise InvalidInputError(
                f"The sampler {sampler} with {name} {value} does not run on the command line. Choose {name} {usual}, "
                "or run this workflow in ComfyUI."
            )
    return NamedSampler(solver_named(sampler))
