"""The template catalogue: what may be said, in which version, language and channel, and its one render function."""

from gateway.catalog.catalog import Catalog
from gateway.catalog.segments import Segments, segments
from gateway.catalog.source import BadTemplate, Lender, Problem, Source
from gateway.catalog.variables import VariableProblem, VariableSpec
from gateway.catalog.version import TemplateVersion

__all__ = [
    "BadTemplate",
    "Catalog",
    "Lender",
    "Problem",
    "Segments",
    "Source",
    "TemplateVersion",
    "VariableProblem",
    "VariableSpec",
    "segments",
]
