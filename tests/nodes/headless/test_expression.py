"""Formulas give what Python gives, and nothing but numbers is worked out."""

from __future__ import annotations

import time

import pytest
from wan_director.common.errors import InvalidInputError
from wan_director.nodes.headless.core_nodes import CORE_NODES
from wan_director.nodes.headless.core_nodes.logic.expression import evaluate

VALUES = {"a": 7, "b": 2.5, "c": True}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("a + b * 2", 12.0), ("(a - 1) // 4 * 4 + 1", 5), ("-a % 4", 1), ("a ** 2", 49), ("7 / 2", 3.5), ("+a", 7),
        ("a if c else b", 7), ("not c", False), ("0 or b", 2.5), ("c and a", 7), ("1 < a <= 7", True),
        ("a == 7 and b != 2", True), ("a > 8 or b >= 3", False), ("max(a, b, 9)", 9), ("min(values)", True),
        ("sum(values)", 10.5), ("sum(a, b)", 9.5), ("values[1]", 2.5), ("round(2.567, 2)", 2.57), ("round(b)", 2),
        ("ceil(b) + floor(b)", 5), ("int(b)", 2), ("float(a)", 7.0), ("abs(-a)", 7), ("pow(2, 10)", 1024),
        ("sqrt(49)", 7.0), ("log2(8)", 3.0), ("log10(100)", 2.0), ("log(1)", 0.0), ("sin(0)", 0.0), ("cos(0)", 1.0),
        ("tan(0)", 0.0), ("a & 3", 3), ("a | 8", 15), ("a ^ 1", 6), ("~a", -8), ("1 << 4", 16), ("a >> 1", 3),
        ("\n a +\n b \n".replace("+\n", "+ "), 9.5), ("2 ** -1", 0.5), ("True", True),
    ],
)  # fmt: skip
def test_a_formula_gives_its_value(formula, value):
    result = evaluate(formula, VALUES)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("", "empty. Write one"),
        ("a +", "is no formula; it must give one number from a, b, c. Change"),
        ("d + 1", "nothing is connected as 'd'"),
        ("a / 0", "divides by zero"),
        ("sqrt(-1)", "cannot be worked out"),
        ("(-8) ** 0.5", "root of a negative number"),
        ("values", "gives no number"),
        ("values[9]", "cannot be worked out"),
        ("__import__('os').system('true')", "cannot be worked out"),
        ("a.__class__", "Attribute is not possible"),
        ("(lambda: 1)()", "the functions are sum"),
        ("[1, 2]", "List is not possible"),
        ("'x' * 3", "is no number"),
        ("values * 3", "only numbers can be reckoned with"),
        ("max(a, key=b)", "the functions are"),
        ("9 ** 9 ** 9", "gets too large"),
        ("2 ** 19999 * 2 ** 19999", "gets too large"),
        ("1 << 10 ** 9", "gets too large"),
        ("round(5, -10 ** 9)", "gets too large"),
        ("pow(2, 10 ** 9)", "gets too large"),
        ("1" * 10_001, "10001 characters, at most 10000"),
        ("(" * 400 + "1" + ")" * 400, "is no formula"),
        ("-" * 9000 + "1", "is no formula"),
    ],
)
def test_what_is_no_formula_of_numbers_is_refused_quickly(formula, words):
    start = time.perf_counter()
    with pytest.raises(InvalidInputError, match=words):
        evaluate(formula, VALUES)
    assert time.perf_counter() - start < 2


def test_the_node_gives_the_number_in_three_kinds():
    node = CORE_NODES["ComfyMathExpression"]
    assert node.execute(expression="a * b", values={"a": 3, "b": 1.5}).args == (4.5, 4, True)
    for huge in ("10 ** 400", "1e308 * 10"):
        with pytest.raises(InvalidInputError, match="gives no finite number"):
            node.execute(expression=huge, values={"a": 1})
