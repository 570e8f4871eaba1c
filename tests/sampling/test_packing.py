"""Values as tensors and a text, and back: nothing lost, nothing held twice, and nothing strange let in or out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from wan_director.common.errors import InvalidInputError
from wan_director.sampling.packing import STRUCTURE, pack, unpack


class Pair(NamedTuple):
    left: object
    right: object


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    name: str
    inside: object = ()


KINDS = (Pair, Record)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.uint8, torch.int64, torch.bool)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES | st.sampled_from(DTYPES).map(lambda dtype: torch.tensor([[0, 1], [1, 1]]).to(dtype)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Record, st.text(), inner),
    ),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[name], right[name]) for name in left)
    if isinstance(left, tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Record):
        return isinstance(right, Record) and left.name == right.name and same(left.inside, right.inside)
    return type(left) is type(right) and left == right


@settings(max_examples=50)
@given(VALUES)
def test_a_value_comes_back_from_a_file(value):
    assert same(value, unpack(load(save({name: each.clone() for name, each in pack(value, KINDS).items()})), KINDS))


def test_floats_keep_every_bit():
    numbers = (0.1, 1e-310, -0.0, math.inf, np.float64(2 / 3))
    again = unpack(pack(numbers, ()), ())
    assert [number.hex() for number in again] == [float(number).hex() for number in numbers]
    assert math.isnan(unpack(pack(math.nan, ()), ()))


def test_a_tensor_that_is_there_twice_is_held_once():
    whole = torch.arange(8.0)
    packed = pack(Pair((whole, whole), whole[2:4]), KINDS)
    assert set(packed) == {"left.0", "right", STRUCTURE} and packed["left.0"] is whole


def test_names_that_meet_stay_two():
    value = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}, STRUCTURE: torch.ones(2)}
    assert same(value, unpack(pack(value, ()), ()))


@pytest.mark.parametrize("value", [[1], {1: 2}, {1}, object(), Record("x"), len, b"x"])
def test_what_no_file_holds_is_refused(value):
    with pytest.raises(TypeError, match="at 'left' cannot be saved"):
        pack(Pair(value, 1), (Pair,))


STRANGE = [
    '{"kind": "Popen", "fields": {"args": "x"}}',
    '{"kind": "Pair", "fields": {"left": 1}}',
    '{"kind": [], "fields": {}}',
    '{"tensor": "x", "cpu": true}',
    '{"mapping": [1]}',
    '{"tuple": 3}',
    *("{}", "[", "[" * 9999),
]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_what_was_not_packed_is_refused(text):
    with pytest.raises(InvalidInputError, match=r"The saved state of a run (lacks|is damaged).*start anew"):
        unpack({STRUCTURE: torch.tensor(list(text.encode()), dtype=torch.uint8)}, KINDS)
