"""The template catalog: message texts by version, locale and channel, and the only function that renders them."""

from gateway.templates.catalog import Catalog
from gateway.templates.language.source import BadTemplate, Lender, TemplateProblem, TemplateSource
from gateway.templates.language.variables import VariableProblem, VariableSpec
from gateway.templates.language.version import TemplateVersion
from gateway.templates.rendering.sms_segments import Segments, segments

__all__ = [
    "BadTemplate",
    "Catalog",
    "Lender",
    "Segments",
    "TemplateProblem",
    "TemplateSource",
    "TemplateVersion",
    "VariableProblem",
    "VariableSpec",
    "segments",
]
