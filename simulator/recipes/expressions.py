"""Arithmetic in recipes: server scripts compute settings from lengths, degrees and concurrency."""

from __future__ import annotations

import ast
import math
import operator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Number: TypeAlias = int | float

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": min,
    "max": max,
    "ceil": math.ceil,
    "floor": math.floor,
    "roundup64": lambda x: 64 * math.ceil(x / 64),
    "floor_power_of_two": lambda x: 2 ** max(0, math.floor(math.log2(x))),
}


@cache
def parse_expression(text: str) -> ast.expr:
    """The syntax tree of an expression, checked to hold arithmetic only.

    Numbers, names, ``+ - * / // %``, unary minus and calls of ``min``, ``max``, ``ceil``,
    ``floor``, ``roundup64`` and ``floor_power_of_two`` (at least 1) are allowed; nothing else is.

    Raises
    ------
    ValueError
        If the text does not parse or holds anything else.
    """
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"'{text}' is not an arithmetic expression: {error.msg}") from None
    _check(body, text)
    return body


def expression_names(text: str) -> frozenset[str]:
    """Variables that an expression reads."""
    nodes = list(ast.walk(parse_expression(text)))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return frozenset(n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called)


def evaluate(text: str, *, variables: Mapping[str, Number]) -> Number:
    """The value of an expression; a whole result is an ``int``.

    Raises
    ------
    ValueError
        If the expression is not arithmetic, names an unknown variable or has no value.
    """
    tree = parse_expression(text)
    unknown = expression_names(text) - variables.keys()
    if unknown:
        raise ValueError(f"'{text}' reads {', '.join(sorted(unknown))}, which is not defined")
    try:
        value = _value(tree, variables)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"'{text}' has no value: {error}") from None
    return int(value) if float(value).is_integer() else value


def _check(node: ast.expr, text: str) -> None:
    parts: list[ast.expr] = []
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            pass
        case ast.Name():
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            parts = [left, right]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            parts = args
        case _:
            raise ValueError(
                f"'{text}' holds '{ast.unparse(node)}'; only numbers, names, + - * / // % and "
                f"{', '.join(_FUNCTIONS)} are allowed"
            )
    for part in parts:
        _check(part, text)


def _value(node: ast.expr, variables: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return variables[name]
        case ast.UnaryOp(operand=operand):
            return -_value(operand, variables)
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, variables), _value(right, variables))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(argument, variables) for argument in args))
    raise AssertionError(f"unchecked node {ast.dump(node)}")
