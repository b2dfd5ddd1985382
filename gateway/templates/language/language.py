"""Compiles the template language: Liquid with few tags, few filters and hard limits.

Templates are untrusted input: they can't call Python, and their running time and output size are limited. Every
variable and filter is checked at compile time, in all branches. Errors have the line and column of the source, and
never a variable's value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from gateway.core.errors import RenderFailed
from gateway.templates.language.dialect import BLOCKS, TAGS, WANTS, WITHIN, environment
from gateway.templates.language.source import TemplateProblem
from gateway.templates.language.source_positions import ExpandedSource, SourceError, SourcePosition
from gateway.templates.rendering import mail
from gateway.templates.rendering.markup import LIQUID
from gateway.templates.translatable import translatable

_MOST_TAGS = 500  # of one part; our choice: parsing that many takes some 20 ms
_LONGEST_TAG = 400  # characters; our choice
_OPENING = re.compile(r"\{[{%]")
_DEEPEST = 10  # depth of nested conditions and loops; our choice


@dataclass(frozen=True, slots=True)
class VariableOutput:
    """An output tag: the variable, its filters, and the position in the source."""

    variable: str
    filters: tuple[str, ...]
    place: SourcePosition


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A compiled text. It has no reference to its part, so that parts with the same text share it."""

    template: BoundTemplate
    tags: tuple[tuple[int, int], ...]  # of a mail: see mail.Html
    outputs: tuple[tuple[str, tuple[str, ...], int], ...]  # variable, filters, offset in the expanded text
    variables: frozenset[str]


class CompiledPart:
    """A compiled part of a message. ``source`` is the editor's text with shared texts inserted."""

    __slots__ = ("_compiled", "is_mail", "source", "where")

    def __init__(self, where: str, source: ExpandedSource, compiled: _Compiled, *, is_mail: bool) -> None:
        self.where = where
        self.source = source
        self.is_mail = is_mail
        self._compiled = compiled

    @property
    def outputs(self) -> list[VariableOutput]:
        """All output tags, in order."""
        return [
            VariableOutput(name, filters, self.source.place(offset)) for name, filters, offset in self._compiled.outputs
        ]

    @property
    def variables(self) -> frozenset[str]:
        """The full paths of all variables in the text."""
        return self._compiled.variables

    def render(self, values: Mapping[str, Any]) -> str:
        """Render ``values`` by full path ("amount", "borrower.name"). Raises RenderFailed, which never has values."""
        nested: dict[str, Any] = {}
        for name, value in values.items():
            outer, _, inner = name.partition(".")
            if inner:
                nested.setdefault(outer, {})[inner] = value
            else:
                nested[name] = value
        try:
            return self._compiled.template.render(nested)
        except LiquidError as error:
            place = self._place(error.token.start_index if error.token else -1)
            raise RenderFailed(problem_at(self.where, place, _message(error)).sentence) from None
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise RenderFailed(
                translatable("{where}: {detail}", where=self.where, detail=type(error).__name__)
            ) from None

    def _place(self, offset: int) -> SourcePosition | None:
        if offset < 0:
            return None
        if not self.is_mail:
            return self.source.place(offset)
        begun = [(at, origin) for at, origin in self._compiled.tags if at <= offset]
        return self.source.place(begun[-1][1] + offset - begun[-1][0]) if begun else None


@dataclass(frozen=True, slots=True)
class PartScope:
    """The names that a part may use: variable ``types`` by full path, ``fragments`` and ``constants``."""

    locale: str
    types: Mapping[str, str]
    fragments: Mapping[str, str]
    constants: Mapping[str, str]


def compile_part(
    text: str,
    where: str,
    scope: PartScope,
    *,
    is_mail: bool,
    locate: Callable[[int], SourcePosition] | None = None,
) -> CompiledPart | list[TemplateProblem]:
    """Compile one part, or return all its problems. ``locate``: see ExpandedSource."""
    try:
        source = ExpandedSource(text, scope.fragments, scope.constants, html=is_mail, locate=locate)
    except SourceError as error:
        return [problem_at(where, error.place, error.detail)]
    compiled = _compile(source.text, tuple(sorted(scope.types.items())), is_mail)
    if isinstance(compiled, list):
        places = [source.place(each.offset) if each.offset >= 0 else None for each in compiled]
        return [problem_at(where, place, each.detail) for place, each in zip(places, compiled, strict=True)]
    return CompiledPart(where, source, compiled, is_mail=is_mail)


# An editor's preview compiles all texts (up to a hundred) after each keystroke, of which one has changed; and parts of
# several jurisdictions have the same text.
@lru_cache(maxsize=512)
def _compile(text: str, types: tuple[tuple[str, str], ...], is_mail: bool) -> _Compiled | list[SourceError]:
    known = dict(types)
    addresses = frozenset(name for name, kind in known.items() if kind == "url")
    try:
        _check_tags(text)
        template = _parse(text, html=is_mail)
        analysis = template.analyze(include_partials=False)
        if problems := list(_check_uses(template, analysis, known)):
            return problems
        html = mail.compiled(text, addresses) if is_mail else None
    except SourceError as error:
        return [error]
    variables = frozenset(_path(use) for uses in analysis.globals.values() for use in uses)
    outputs = tuple(_outputs(template))
    if html:
        template = _parse(html.html, html=True)
    return _Compiled(template, html.tags if html else (), outputs, variables)


def _check_tags(text: str) -> None:
    """Check that tags are known, few, short and closed: the parser is slow, and its errors often have no position."""
    open_blocks: list[tuple[str, int]] = []
    for count, (offset, tag) in enumerate(_tags(text)):
        if count >= _MOST_TAGS:
            raise SourceError(translatable("there are more than {most} tags", most=_MOST_TAGS), offset)
        name = _tag_name(tag)
        if tag.startswith("{{") or (open_blocks and open_blocks[-1][0] == "comment" and name != "endcomment"):
            continue
        if name == "render":
            raise SourceError(translatable("include a shared text like this: {% render 'help' %}"), offset)
        if name.startswith("end") and open_blocks and name == f"end{open_blocks[-1][0]}":
            open_blocks.pop()
        elif name.startswith("end") and name.removeprefix("end") in BLOCKS:
            raise SourceError(translatable("{tag} has no matching opening tag", tag=f"{{% {name} %}}"), offset)
        elif name not in TAGS and name not in WITHIN and not name.startswith("#"):
            known = ", ".join(sorted((*TAGS, "render")))
            detail = translatable("unknown tag {name}; use one of: {known}", name=repr(name[:40]), known=known)
            raise SourceError(detail, offset)
        elif name in BLOCKS:
            open_blocks.append((name, offset))
            if len(open_blocks) > _DEEPEST:
                raise SourceError(
                    translatable("conditions and loops are nested more than {most} deep", most=_DEEPEST), offset
                )
    if open_blocks:
        name, offset = open_blocks[-1]
        tags = {"tag": f"{{% {name} %}}", "end": f"{{% end{name} %}}"}
        raise SourceError(translatable("{tag} is not closed: add {end}", **tags), offset)


def _tags(text: str) -> Iterator[tuple[int, str]]:
    """Offset and text of each tag, in one pass: a pattern takes quadratic time where many tags are not closed."""
    end = 0
    while found := _OPENING.search(text, end):
        start, closing = found.start(), "}}" if found[0] == "{{" else "%}"
        end = text.find(closing, start + 2, start + _LONGEST_TAG) + 2
        if end < 2:
            detail = translatable("{closing} is missing within {most} characters", closing=closing, most=_LONGEST_TAG)
            raise SourceError(detail, start)
        yield start, text[start:end]


def _tag_name(tag: str) -> str:
    return (tag.strip("{%-} \n\t").split(maxsplit=1) or [""])[0]


def _parse(text: str, *, html: bool) -> BoundTemplate:
    made = environment(html=html)
    try:
        return made.from_string(text)
    except LiquidError as error:
        offset = error.token.start_index if error.token and error.token.start_index >= 0 else _first_wrong(text, made)
        raise SourceError(_message(error), offset) from None
    except RecursionError:
        raise SourceError(translatable("is nested too deeply"), 0) from None


def _first_wrong(text: str, made: Environment) -> int:
    """The first tag that can't be parsed by itself: for a tag that ends too early, the parser gives no position."""
    for found in LIQUID.finditer(text):
        name = _tag_name(found[0])
        if found[0].startswith("{%") and (name.startswith("end") or name in ("else", "break", "continue")):
            continue
        before = {"elsif": "{% if true %}", "when": "{% case 1 %}"}.get(name, "")
        block = {"elsif": "if", "when": "case"}.get(name, name)
        after = f"{{% end{block} %}}" if found[0].startswith("{%") and block in BLOCKS else ""
        try:
            made.from_string(before + found[0] + after)
        except LiquidError:
            return found.start()
    return -1


def _path(use: Any) -> str:
    return ".".join(str(part) for part in use.segments)


def _check_uses(template: BoundTemplate, analysis: Any, known: Mapping[str, str]) -> Iterator[SourceError]:
    """Find unknown variables and filters, and filters on the wrong type of value, in all branches."""
    for uses in analysis.globals.values():
        for use in uses:
            if (name := _path(use)) not in known:
                names = {"name": repr(name[:60]), "known": ", ".join(sorted(known))}
                yield SourceError(
                    translatable("unknown variable {name}; this template has: {known}", **names), use.span.index
                )
    roots = {name.partition(".")[0] for name in known}
    for node in _nodes(template.nodes):
        for name in map(str, (*node.template_scope(), *node.block_scope())):
            if name in roots:
                # A filter could turn a checked URL into another one.
                detail = translatable("{name} is already a variable: choose another name", name=repr(name))
                yield SourceError(detail, node.token.start_index)
    for name, spans in analysis.filters.items():
        if name not in template.env.filters:
            for span in spans:
                names = {"name": repr(name[:60]), "known": ", ".join(sorted(template.env.filters))}
                yield SourceError(translatable("unknown filter {name}; use one of: {known}", **names), span.index)
    for each in _filtered(template):
        first = each.filters[0] if each.filters else None
        if first is None or first.name not in WANTS:
            continue
        kinds, least, example = WANTS[first.name]
        kind = known.get(_name(each.left)) if isinstance(each.left, Path) else None
        if len(first.args) < least or (kind and kind not in kinds):
            words = {"name": first.name, "kinds": ", ".join(kinds), "example": example}
            detail = translatable("the filter {name} works on {kinds}; write it like {example}", **words)
            yield SourceError(detail, first.token.start_index)


def _outputs(template: BoundTemplate) -> Iterator[tuple[str, tuple[str, ...], int]]:
    for each in _filtered(template):
        if isinstance(each.left, Path):
            yield _name(each.left), tuple(one.name for one in each.filters or ()), each.left.token.start_index


def _name(path: Path) -> str:
    return ".".join(str(each) for each in path.path)


def _filtered(template: BoundTemplate) -> Iterator[Any]:
    for node in _nodes(template.nodes):
        for expression in node.expressions():
            yield from _expressions(expression)


def _nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(list(node.children(None)))  # type: ignore[arg-type]  # the template has no partials


def _expressions(expression: Expression) -> Iterator[Any]:
    if isinstance(expression, FilteredExpression):
        yield expression
    for each in expression.children():
        yield from _expressions(each)


def problem_at(where: str, place: SourcePosition | None, detail: str) -> TemplateProblem:
    """A problem at a position of a part; None: of the whole part."""
    if place is None:
        return TemplateProblem(where, 0, 0, detail)
    return TemplateProblem(where, place.line, place.column, place.sentence(detail))


def _message(error: LiquidError) -> str:
    """The library's message, shortened. It quotes names and tags of the template, never values."""
    return re.sub(r"\s+", " ", str(error.args[0] if error.args else type(error).__name__))[:120]
