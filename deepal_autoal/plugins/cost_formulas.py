"""Cost classes: how the time and the memory of a query grow, as formulas that people and programs can read."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from deepal_autoal.errors import InputError

# A formula consists of these, whole numbers, sums and products.
SYMBOLS = {
    "N": "candidates",
    "L": "labeled samples",
    "b": "batch size",
    "C": "classes",
    "D": "embedding dimensions",
    "P": "numbers in one input",
    "T": "dropout passes",
    "M": "ensemble members",
    "K": "candidate strategies of a selector",
    "E": "epochs of the strategy's own network",
    "ask": "the cost of all candidate strategies",
    "sweep": "one pass of the pool through the task model",
    "fit": "one training of the task model",
}


def check_cost(formula: str) -> str:
    """Return a formula unchanged.

    Raises:
        InputError: If it contains anything but the `SYMBOLS`, whole numbers, ``+`` and ``*``.
    """
    _evaluate(_parse(formula), dict.fromkeys(SYMBOLS, 1), formula)
    return formula


def evaluate_cost(formula: str, sizes: Mapping[str, int]) -> int:
    """Return a formula's value.

    Args:
        formula: For example ``"N*(C + D)"``.
        sizes: Values of the symbols that it contains.

    Raises:
        InputError: If it is not a formula, or a symbol has no value.
    """
    return _evaluate(_parse(formula), sizes, formula)


def symbols_of(formula: str) -> frozenset[str]:
    """Return the symbols that a formula contains.

    Raises:
        InputError: If it is not a formula.
    """
    return frozenset(node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name))


def degree_of_cost(formula: str, degrees: Mapping[str, int]) -> int:
    """Return the degree of a formula, the highest degree of its terms.

    Args:
        formula: For example ``"N*b*D + N*N"``.
        degrees: The degree of each symbol; 0 if left out. ``{"N": 1}`` gives 2 here.

    Raises:
        InputError: If it is not a formula.
    """
    check_cost(formula)
    return _degree(_parse(formula), degrees)


def format_cost(formula: str) -> str:
    """Return a formula in mathematical notation: ``N·(C + D)``; D·D becomes D²."""
    formatted = formula.replace(" * ", "*")
    for symbol in SYMBOLS:
        formatted = formatted.replace(f"{symbol}*{symbol}*{symbol}", f"{symbol}³")
        formatted = formatted.replace(f"{symbol}*{symbol}", f"{symbol}²")
    return formatted.replace("*", "·")


def _parse(formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, TypeError) as error:
        raise InputError(f"cost {formula!r} is not a formula: {error}") from None


def _degree(node: ast.expr, degrees: Mapping[str, int]) -> int:
    if isinstance(node, ast.BinOp):
        left, right = _degree(node.left, degrees), _degree(node.right, degrees)
        return max(left, right) if isinstance(node.op, ast.Add) else left + right
    return degrees.get(node.id, 0) if isinstance(node, ast.Name) else 0


def _evaluate(node: ast.expr, sizes: Mapping[str, int], formula: str) -> int:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        left, right = _evaluate(node.left, sizes, formula), _evaluate(node.right, sizes, formula)
        return left + right if isinstance(node.op, ast.Add) else left * right
    if isinstance(node, ast.Name) and node.id in sizes:
        return sizes[node.id]
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0:
        return node.value
    raise InputError(
        f"cost {formula!r}: {ast.unparse(node)!r} is not allowed; use {', '.join(sizes)}, whole numbers, + and *"
    )
