"""Which model a LoRA was trained on: in its header as other trainers write it, and told where it is on another one."""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path

import pytest
from safetensors import safe_open
from wan_director.__main__ import main
from wan_director.engine import LoraRecipe, ModelRecipe, load_model, with_lora
from wan_director.engine.local import LocalRuntime
from wan_director.model_loading.files.model_hash import base_words, full_hash, short_hash
from wan_director.tuning.run import Training

from .made_models import expert_models
from .taught import TRANSFORMER
from .test_training_run import ready, settings_in


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Training:
    training = ready(settings_in(tmp_path_factory.mktemp("trained")))
    list(training.run())
    return training


def test_the_header_names_the_base_as_other_trainers_do(trained):
    whole = TRANSFORMER.read_bytes()
    with safe_open(trained.target, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_sd_model_name"] == TRANSFORMER.name
    assert metadata["ss_sd_model_hash"] == sha256(whole[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    assert metadata["ss_new_sd_model_hash"] == sha256(whole).hexdigest()
    assert metadata["modelspec.trigger_phrase"] == metadata["wan_director.trigger"] == "sks"


def test_a_lora_on_another_base_is_told_once(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    _, other = expert_models(tmp_path)
    runtime = LocalRuntime("cpu")
    own, foreign = (load_model(ModelRecipe(path), runtime) for path in (TRANSFORMER, other))
    words = f"was trained on {TRANSFORMER.name} and is put onto"
    with_lora(own, LoraRecipe(trained.target))
    assert words not in caplog.text
    for strength in (1.0, 0.5):
        with_lora(foreign, LoraRecipe(trained.target, strength))
    assert caplog.text.count(f"{words} {other.name}") == 1


def test_inspect_says_the_base(trained, capsys):
    assert main(["inspect", str(trained.target)]) == 0
    assert f"{TRANSFORMER.name} ({short_hash(TRANSFORMER)})" in capsys.readouterr().out


def test_what_has_no_hash_says_nothing(tmp_path):
    small = tmp_path / "small.safetensors"
    small.write_bytes(b"x")
    assert short_hash(small) is None and short_hash(tmp_path) is None and full_hash(tmp_path / "gone") is None
    assert full_hash(small) == sha256(b"x").hexdigest()
    assert base_words({}) is None and base_words({"ss_sd_model_name": "a.safetensors"}) == "a.safetensors"


def test_hashing_can_be_stopped(trained: Training):
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        full_hash(Path(trained.target), stop)
