"""A compiled template as a flat row of texts and small functions: what most templates are.

Liquid walks a tree and makes a context for every message. Texts with plain outputs, filters and ``if`` are written
down once as a row instead. Whatever is not understood here is left to Liquid (``flatten`` answers None), and whatever
goes wrong here is rendered again by Liquid, which says what and where. A property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from liquid import BoundTemplate, Environment
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import BooleanExpression, FilteredExpression, Path, StringLiteral
from liquid.builtin.expressions.logical import LogicalAndExpression, LogicalOrExpression
from liquid.builtin.expressions.primitive import IntegerLiteral
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.stringify import to_liquid_string

Values = Mapping[str, Any]  # by whole path: "amount", "borrower.name"
Value = Callable[[Values], Any]
Row = Sequence[str | Callable[[Values], str]]


class _Unknown(Exception):
    """Something that only Liquid renders."""


def flatten(template: BoundTemplate, locale: str) -> Row | None:
    """The template as a row; None where it has more than this file understands."""
    try:
        return tuple(_row(template.nodes, template.env, locale))
    except _Unknown:
        return None


def write(row: Row, values: Values) -> str:
    return "".join([each if each.__class__ is str else each(values) for each in row])  # type: ignore[operator]  # no isinstance


def _row(nodes: Sequence[Node], env: Environment, locale: str) -> list[str | Callable[[Values], str]]:
    row: list[str | Callable[[Values], str]] = []
    for node in nodes:
        if isinstance(node, ContentNode):
            row.append(node.text)
        elif isinstance(node, OutputNode):
            row.append(_output(_filtered(node.expression, env, locale), env.autoescape))
        elif isinstance(node, IfNode):
            row.append(_if(node, env, locale))
        elif not isinstance(node, CommentNode):
            raise _Unknown
    return row


def _output(value: Value, autoescape: bool) -> Callable[[Values], str]:
    if autoescape:
        return lambda values: to_liquid_string(value(values), True)

    def output(values: Values) -> str:
        found = value(values)
        return found if found.__class__ is str else to_liquid_string(found, False)

    return output


def _if(node: IfNode, env: Environment, locale: str) -> Callable[[Values], str]:
    if node.blank:
        return lambda values: ""  # Liquid leaves out a block that has nothing but space in it
    branches = [(_condition(node.condition), _block(node.consequence, env, locale))]
    branches += [(_condition(each.expression), _block(each.block, env, locale)) for each in node.alternatives]
    otherwise = _block(node.default, env, locale) if node.default else ()

    def choose(values: Values) -> str:
        for holds, row in branches:
            if holds(values):
                return write(row, values)
        return write(otherwise, values)

    return choose


def _block(block: BlockNode, env: Environment, locale: str) -> Row:
    return tuple(_row(block.nodes, env, locale))


def _condition(expression: Any) -> Callable[[Values], bool]:
    if isinstance(expression, BooleanExpression):
        return _condition(expression.expression)
    if isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        left, right = _condition(expression.left), _condition(expression.right)
        if isinstance(expression, LogicalAndExpression):
            return lambda values: left(values) and right(values)
        return lambda values: left(values) or right(values)
    value = _value(expression)

    def holds(values: Values) -> bool:
        found = value(values)
        return found is not None and found is not False

    return holds


def _filtered(expression: Any, env: Environment, locale: str) -> Value:
    if not isinstance(expression, FilteredExpression):
        raise _Unknown
    value = _value(expression.left)
    for each in expression.filters or ():
        if any(getattr(argument, "name", None) for argument in each.args):
            raise _Unknown
        function = _filter(env.filters[each.name], env, locale)
        value = _apply(function, value, [_value(argument.value) for argument in each.args])
    return value


def _filter(function: Callable[..., Any], env: Environment, locale: str) -> Callable[..., Any]:
    if hasattr(function, "in_locale"):
        return partial(function.in_locale, locale)
    if getattr(function, "with_context", False):
        raise _Unknown
    return partial(function, environment=env) if getattr(function, "with_environment", False) else function


def _apply(function: Callable[..., Any], value: Value, arguments: Sequence[Value]) -> Value:
    if not arguments:
        return lambda values: function(value(values))
    if len(arguments) == 1:
        [argument] = arguments
        return lambda values: function(value(values), argument(values))
    return lambda values: function(value(values), *[each(values) for each in arguments])


def _value(expression: Any) -> Value:
    if isinstance(expression, StringLiteral | IntegerLiteral):
        literal = expression.value
        return lambda values: literal
    if isinstance(expression, Path) and all(isinstance(each, str) for each in expression.path):
        name = ".".join(str(each) for each in expression.path)
        return lambda values: values[name]
    raise _Unknown
