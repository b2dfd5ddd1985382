"""Runs Schemathesis' engine against a served API: every phase, from the API's own OpenAPI document."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, HookContext
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

# The same cases in every run; another number, or "random", tries others.
SEED = os.environ.get("GATEWAY_TEST_SCHEMA_SEED", "1")


@dataclass
class SchemaRun:
    """What a run did: calls by operation and phase, statuses by operation, and what was wrong with the answers."""

    calls: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Mapping[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def strict(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with answers' models closed: a member that no schema names is an undocumented answer.

    The published one leaves them open, so that clients don't break when a member is added.
    """
    components = document["components"]
    models = {
        name: {**each, "additionalProperties": False} if name.endswith("Out") and _closable(each) else each
        for name, each in components["schemas"].items()
    }
    return {**document, "components": {**components, "schemas": models}}


def _closable(model: Mapping[str, Any]) -> bool:
    return model.get("type") == "object" and "additionalProperties" not in model


def run(
    document: Mapping[str, Any], url: str, tokens: Mapping[str, str], examples: int, sign: Callable[[Case], None]
) -> SchemaRun:
    """Every phase against ``url``. ``tokens`` by security scheme; ``examples`` of each operation and phase.

    ``sign`` is called with each case before it is sent, and may add a provider's signature.
    """
    config = SchemathesisConfig.from_dict(
        {
            **({} if SEED == "random" else {"seed": int(SEED)}),
            "base-url": url,
            "continue-on-failure": True,
            "max-stream-events": 1,
            "request-timeout": 30,
            "auth": {"openapi": {name: {"bearer": token} for name, token in tokens.items()}},
            "phases": {
                "stateful": {"generation": {"max-examples": 4 * examples}},
                "coverage": {"unexpected-methods": ["PATCH"]},  # no path has it; another would be answered alike
            },
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            # What a schema can't say (an unknown template, a landline) is refused with 422.
            "checks": {"positive_data_acceptance": {"enabled": False}},
            "operations": [
                # A bad item is answered in its place and does not stop the others: no bad item says anything new.
                *(
                    {
                        "include-path": path,
                        "checks": {"negative_data_rejection": {"enabled": False}},
                        "phases": {"coverage": {"generation": {"mode": "positive"}}},
                    }
                    for path in ("/v1/notifications/batch", "/v1/cases/batch")
                ),
                # Its shape is that of a notification, whose every violation is tried.
                {
                    "include-path": "/v1/decisions",
                    "phases": {"coverage": {"generation": {"mode": "positive"}}},
                },
            ],
        }
    )
    schema = schemathesis.openapi.from_dict(strict(document), config=config)

    @schema.hook
    def map_case(_context: HookContext, case: Case) -> Case:
        sign(case)
        return case

    result = SchemaRun()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _add(result, event)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            result.errors.append(f"{getattr(event, 'label', '')}: {getattr(event, 'info', None) or event}")
    return result


def _add(result: SchemaRun, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        label = recorder.cases[case_id].value.operation.label if case_id in recorder.cases else recorder.label
        result.calls[label] += 1
        result.phases[event.phase.value] += 1
        if interaction.response is not None:
            result.statuses[label][interaction.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                label = recorder.cases[case_id].value.operation.label
                key = f"{label}: {failure.title}: {failure.message}"
                result.failures.setdefault(key[:300], check.failure_info.code_sample)
