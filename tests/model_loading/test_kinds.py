"""Every part of a video model has one record, a way to be recognised and a published file to name."""

from __future__ import annotations

import pytest
from wan_director.model_loading.kinds import MODEL_KINDS
from wan_director.model_loading.publishing.known_files import known_file

ELSEWHERE = {"speed_module"}
"""Kinds whose files are not on the Hub: the example says where."""


@pytest.mark.parametrize("kind", MODEL_KINDS.values(), ids=lambda kind: kind.name)
def test_the_example_of_a_kind_is_a_published_file_of_its_folder(kind) -> None:
    example = known_file(kind.example)
    if kind.name in ELSEWHERE:
        assert example is None and " on ModelScope" in kind.where_to_get
        return
    assert example is not None and (example.kind.name, example.folder) == (kind.name, kind.folder)
    assert kind.layouts and MODEL_KINDS[kind.name] is kind
