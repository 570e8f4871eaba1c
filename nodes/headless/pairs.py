"""Models that a graph wires together and that do not belong together: found before the sampling, which takes long."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...common.errors import PairingError
from ...model_loading.kinds import CLIP_VISION, DIT, TEXT_ENCODER, VAE
from ...model_loading.opening import open_checkpoint
from ...model_loading.pairing import check_pair
from ...model_loading.recognition.detect import inspect_checkpoint
from ...model_loading.spec import AnyKind, ModelSpec
from ..hosts.host import host
from .checks import named
from .graph import Graph, GraphNode, Link

DECODERS = frozenset({"WanDirectorDecode", "WanDirectorDecodeToVideo", "VAEDecode", "VAEDecodeTiled"})
LOADERS: Mapping[str, tuple[AnyKind, str]] = MappingProxyType({
    "WanDirectorLoadModel": (DIT, "model_name"),
    "WanDirectorLoadVAE": (VAE, "vae_name"),
    "WanDirectorLoadTextEncoder": (TEXT_ENCODER, "text_encoder_name"),
    "WanDirectorLoadClipVision": (CLIP_VISION, "clip_vision_name"),
})  # fmt: skip
"""Loader -> the kind of model it loads, and its widget that names the file."""
_LATENT_WIRES = ("latent", "samples", "samples1")
_MODEL_WIRES = ("model", "high_noise", "low_noise")


def check_decoders(graph: Graph) -> None:
    """Refuses a VAE that cannot decode what the sampler before it makes, as far as the graph and the files tell.

    Raises:
        PairingError: it belongs to another model.
        CheckpointError: one of the two files cannot be used.
    """
    for node in graph.values():
        if node.class_type not in DECODERS:
            continue
        sampler = _source(graph, _wire(node, _LATENT_WIRES), "WanDirectorSampler", _LATENT_WIRES)
        loader = sampler and _source(graph, _wire(sampler, _MODEL_WIRES), "WanDirectorLoadModel", _MODEL_WIRES)
        model = _spec(loader)
        vae = _spec(_source(graph, node.inputs.get("vae"), "WanDirectorLoadVAE", ()))
        if model is None or vae is None:
            continue
        try:
            check_pair(model, vae)
        except PairingError as error:
            raise named(node, error) from None


def _source(graph: Graph, wire: Any, wanted: str, ways: tuple[str, ...]) -> GraphNode | None:
    """The first node of a class on the way up that the named inputs make; None where the way ends elsewhere."""
    seen: set[str] = set()
    while isinstance(wire, Link) and wire.node in graph and wire.node not in seen:
        seen.add(wire.node)
        node = graph[wire.node]
        if node.class_type == wanted:
            return node
        wire = _wire(node, ways)
    return None


def _wire(node: GraphNode, names: tuple[str, ...]) -> Any:
    return next((node.inputs[name] for name in names if name in node.inputs), None)


def _spec(loader: GraphNode | None) -> ModelSpec[Any] | None:
    """What the file of a loader holds; None where it is not known, or not here."""
    if loader is None:
        return None
    kind, widget = LOADERS[loader.class_type]
    name = loader.inputs.get(widget)
    path = host().find_model(kind.folder_name, name) if isinstance(name, str) else None
    if path is None:
        return None
    spec = inspect_checkpoint(open_checkpoint(path), kind)
    return spec if spec.kind == kind else None
