"""Records beside the frozen dataclasses that they stand for."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest
from wan_director.common.records import record


def both(body: type, **options: bool) -> tuple[Any, Any]:
    """The class as a record and as a frozen dataclass, both with its name."""
    slots = options.get("slots", True)
    members = {name: value for name, value in vars(body).items() if name not in ("__dict__", "__weakref__")}
    return (
        record(**options)(type(body.__name__, (), dict(members))),
        dataclass(frozen=True, slots=slots, eq=options.get("eq", True))(type(body.__name__, (), dict(members))),
    )


class Body:
    """Some of everything."""

    KIND: ClassVar[str] = "body"
    size: int
    words: str = "a"
    parts: list[int] = field(default_factory=list, compare=False)
    hidden: int = field(default=3, repr=False)
    late: int = field(default=0, kw_only=True)
    made: int = field(init=False, default=9)

    def doubled(self) -> int:
        return 2 * self.size


@pytest.mark.parametrize("slots", [True, False])
def test_a_record_is_a_frozen_dataclass(slots):
    ours, theirs = both(Body, slots=slots)
    for arguments, named in [((1,), {}), ((1, "b", [4], 5), {"late": 7}), ((2,), {"hidden": 1})]:
        left, right = ours(*arguments, **named), theirs(*arguments, **named)
        assert repr(left).split("(")[1] == repr(right).split("(")[1] and repr(left).split("(")[0].endswith("Body")
        assert asdict(left) == asdict(right) and left.doubled() == right.doubled()
        assert asdict(replace(left, size=8)) == asdict(replace(right, size=8))
        assert asdict(copy.copy(left)) == asdict(copy.deepcopy(left)) == asdict(left) and copy.copy(left) == left
        assert hash(left) == hash(right)
        assert (left == replace(left, parts=[77])) is (right == replace(right, parts=[77])) is True
        assert (left == replace(left, hidden=77)) is (right == replace(right, hidden=77)) is False
        assert (left != ours(99)) is True and left.__eq__(right) is NotImplemented
    assert [each.name for each in fields(ours)] == [each.name for each in fields(theirs)]
    assert ours.__match_args__ == theirs.__match_args__
    assert hasattr(ours(1), "__dict__") is hasattr(theirs(1), "__dict__") is not slots


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4, 5)])
def test_wrong_arguments_are_refused_in_the_same_words(arguments):
    messages = []
    for kind in both(Body):
        with pytest.raises(TypeError) as caught:
            kind(*arguments)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_nothing_of_a_record_is_set_or_deleted():
    value = both(Body)[0](1)
    for change in (lambda: setattr(value, "size", 2), lambda: delattr(value, "size"), lambda: setattr(value, "new", 2)):
        with pytest.raises(FrozenInstanceError, match="field '(size|new)'"):
            change()
    assert value.size == 1


def test_compared_by_identity_where_asked():
    ours, _ = both(Body, eq=False)
    first, second = ours(1), ours(1)
    assert first == first and first != second and len({first, second}) == 2


@record
class Kept:
    """At the top of a module, so that it can be pickled."""

    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(number < 0 for number in self.numbers):
            raise ValueError("negative")


@record
class Longer(Kept):
    """One more field."""

    name: str = "n"


@record
class Spoken:
    """With methods of its own where a record has shared ones."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spoken) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())

    def __repr__(self) -> str:
        return f"<{self.text}>"


def test_pickled_checked_and_inherited():
    for value in (Kept((1, 2)), Longer((1,), "x"), Longer()):
        again = pickle.loads(pickle.dumps(value))
        assert again == value and type(again) is type(value) and hash(again) == hash(value)
    for kind in (Kept, Longer):
        with pytest.raises(ValueError, match="negative"):
            kind((-1,))
    assert Kept() != Longer() and repr(Longer()) == "Longer(numbers=(), name='n')"
    match Longer((4,), "m"):
        case Longer(numbers, name):
            assert (numbers, name) == ((4,), "m")


def test_own_methods_stay():
    assert Spoken("A") == Spoken("a") and hash(Spoken("A")) == hash(Spoken("a")) and repr(Spoken("A")) == "<A>"


def test_a_record_within_itself_is_printed():
    ours, _ = both(Body)
    value = ours(1)
    value.parts.append(value)
    assert "..." in repr(value)
