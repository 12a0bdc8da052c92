import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.recipes.expressions import evaluate, expression_names, parse_expression

VARIABLES = {"isl": 8192, "concurrency": 33, "tp": 8, "dp": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("isl", 8192),
        ("2 * isl", 16384),
        ("isl * tp", 65536),
        ("max(concurrency * 3 // 2, 8)", 49),
        ("max(1, concurrency // tp)", 4),
        ("min(concurrency, 16)", 16),
        ("ceil(concurrency / tp)", 5),
        ("floor(concurrency / tp)", 4),
        ("concurrency / tp", 4.125),
        ("concurrency % tp - -1", 2),
        ("(concurrency - 1) / tp", 4),
        ("floor_power_of_two(615 / 32)", 16),
        ("floor_power_of_two(0.5)", 1),
    ],
)
def test_values(text: str, value: float) -> None:
    result = evaluate(text, variables=VARIABLES)
    assert result == value
    assert isinstance(result, int) == float(value).is_integer()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "isl.real",
        "isl[0]",
        "[isl]",
        "(isl, 1)",
        "'8192'",
        "True",
        "isl if tp else 1",
        "isl < 1",
        "isl and tp",
        "not isl",
        "isl ** tp",
        "isl << 3",
        "isl | tp",
        "~isl",
        "lambda: 1",
        "(lambda: 1)()",
        "[x for x in (1,)]",
        "f'{isl}'",
        "abs(isl)",
        "open('x')",
        "min(isl, key=tp)",
        "max(*isl)",
        "eval('1')",
        "(isl := 3)",
        "1j",
        "...",
        "isl; tp",
        "",
    ],
)
def test_nothing_but_arithmetic(text: str) -> None:
    with pytest.raises(ValueError, match=r"only numbers, names|not an arithmetic expression"):
        parse_expression(text)


def test_names_leave_out_functions() -> None:
    assert expression_names("max(isl, min(tp, 3)) + dp") == {"isl", "tp", "dp"}


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="'osl / tp' reads osl, which is not defined"):
        evaluate("osl / tp", variables=VARIABLES)


@pytest.mark.parametrize("text", ["isl / (tp - 8)", "isl // 0", "min()", "floor_power_of_two(0)"])
def test_no_value(text: str) -> None:
    with pytest.raises(ValueError, match="has no value"):
        evaluate(text, variables=VARIABLES)


@settings(max_examples=50)
@given(
    st.integers(1, 10**6),
    st.integers(1, 64),
    st.sampled_from(["+", "-", "*", "//", "%", "/"]),
)
def test_agrees_with_python(a: int, b: int, operator: str) -> None:
    assert evaluate(f"a {operator} b", variables={"a": a, "b": b}) == eval(f"{a} {operator} {b}")
