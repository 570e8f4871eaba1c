"""Formulas of numbers: read, bounded and worked out without running code."""

from __future__ import annotations

import ast
import math
import operator
import string
from collections.abc import Callable, Mapping
from typing import Any

from .....common.errors import InvalidInputError

LETTERS = tuple(string.ascii_lowercase)
"""Names that values may have."""

MAX_CHARACTERS = 10_000
MAX_BITS = 20_000
"""Of a whole number: enough for any that becomes a float, few enough to be quick."""
MAX_EXPONENT = 4000

Number = int | float


def evaluate(formula: str, values: Mapping[str, Number]) -> Number:
    """The value of a formula such as `max(a, 16) // 16 * 16 + 1`.

    It may use the values by name, all of them as `values`, numbers, `+ - * / // % **`, comparisons, `and`, `or`, `not`,
    `x if y else z`, bit operations, and the functions sum, min, max, abs, round, pow, sqrt, ceil, floor, log, log2,
    log10, sin, cos, tan, int and float.

    Raises:
        InvalidInputError: it is no such formula, divides by zero, or its numbers get too large.
    """
    if not formula.strip():
        raise InvalidInputError("The formula is empty. Write one, for example a + b.")
    if len(formula) > MAX_CHARACTERS:
        raise InvalidInputError(
            f"The formula has {len(formula)} characters, at most {MAX_CHARACTERS}. Write a shorter one."
        )
    names = {**values, "values": list(values.values()), "True": True, "False": False}
    try:
        result = _Evaluator(names).value(ast.parse(formula.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        reason = "is no formula"
    except ZeroDivisionError:
        reason = "divides by zero"
    except OverflowError:
        reason = "gets too large"
    except (TypeError, ValueError, IndexError) as error:
        reason = f"cannot be worked out ({error})"
    else:
        if isinstance(result, int | float):
            return result
        reason = "gives no number"
    raise InvalidInputError(
        f"'{formula}' {reason}; it must give one number from {_list_of(values)}. Change the formula."
    )


def _list_of(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "numbers alone"


class _Evaluator:
    """Works out the parts of a formula."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def value(self, part: ast.AST) -> Any:
        work = getattr(self, f"_{type(part).__name__.lower()}", None)
        if work is None:
            raise ValueError(f"{type(part).__name__} is not possible here")
        return _bounded(work(part))

    def _constant(self, part: ast.Constant) -> Any:
        if not isinstance(part.value, int | float):
            raise TypeError(f"{part.value!r} is no number")
        return part.value

    def _name(self, part: ast.Name) -> Any:
        if part.id not in self._names:
            raise ValueError(f"nothing is connected as '{part.id}'")
        return self._names[part.id]

    def _subscript(self, part: ast.Subscript) -> Any:
        return self.value(part.value)[self.value(part.slice)]

    def _unaryop(self, part: ast.UnaryOp) -> Any:
        return _operation(part.op)(self.value(part.operand))

    def _binop(self, part: ast.BinOp) -> Any:
        left, right = self.value(part.left), self.value(part.right)
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError("only numbers can be reckoned with")
        return _operation(part.op)(left, right)

    def _boolop(self, part: ast.BoolOp) -> Any:
        stops = operator.not_ if isinstance(part.op, ast.And) else bool
        first, *others = part.values
        result = self.value(first)
        for each in others:
            if stops(result):
                break
            result = self.value(each)
        return result

    def _compare(self, part: ast.Compare) -> bool:
        left = self.value(part.left)
        for compare, each in zip(part.ops, part.comparators):
            right = self.value(each)
            if not _operation(compare)(left, right):
                return False
            left = right
        return True

    def _ifexp(self, part: ast.IfExp) -> Any:
        return self.value(part.body if self.value(part.test) else part.orelse)

    def _call(self, part: ast.Call) -> Any:
        name = part.func.id if isinstance(part.func, ast.Name) else ""
        if name not in _FUNCTIONS or part.keywords:
            raise ValueError(f"the functions are {', '.join(_FUNCTIONS)}")
        return _FUNCTIONS[name](*(self.value(each) for each in part.args))


def _operation(kind: ast.AST) -> Callable[..., Any]:
    if type(kind) not in _OPERATIONS:
        raise ValueError(f"{type(kind).__name__} is not possible here")
    return _OPERATIONS[type(kind)]


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    return value


def _power(base: Number, exponent: Number, *_modulus: Any) -> Number:
    if _modulus:
        raise ValueError("pow takes two numbers")
    bits = base.bit_length() if isinstance(base, int) and isinstance(exponent, int) else 0
    if abs(exponent) > MAX_EXPONENT or bits * exponent > MAX_BITS:
        raise OverflowError
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return result


def _shifted(value: int, by: int) -> int:
    if by > MAX_BITS:
        raise OverflowError
    return value << by


def _rounded(value: Number, digits: int | None = None) -> Number:
    if digits is not None and abs(digits) > MAX_EXPONENT:
        raise OverflowError
    return round(value, digits)


def _sum(*values: Any) -> Number:
    return sum(values[0]) if len(values) == 1 and isinstance(values[0], list) else sum(values)


_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.invert,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.LShift: _shifted, ast.RShift: operator.rshift,
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _sum, "min": min, "max": max, "abs": abs, "round": _rounded, "pow": _power, "sqrt": math.sqrt,
    "ceil": math.ceil, "floor": math.floor, "log": math.log, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "int": int, "float": float,
}  # fmt: skip
