"""Every operation of the API that takes a key, with a body that its schema accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.api_gateway import Answer, Client, case_body, request
from tests.support.journeys.cases import SHORT

# By schema; a new schema needs an entry here. The ids in them are replaced by those that a test gives.
_BODIES: Mapping[str, dict[str, Any]] = {
    "NotificationIn": request(90),
    "BatchIn": {"notifications": [request(91)]},
    "CasePutIn": case_body(93),
    "PaymentIn": {"id": "p-1", "amount": "1.00", "at": "2026-11-23T10:00:00Z"},
    "PromiseIn": {"id": "r-1", "amount": "1.00", "date": "2026-11-30", "made_at": "2026-11-23T10:00:00Z"},
    "PlanIn": {
        "id": "l-1",
        "instalment": "1.00",
        "instalments": 3,
        "first_date": "2026-12-10",
        "agreed_at": "2026-11-23T10:00:00Z",
    },
    "JourneySourceIn": {"source": SHORT},
    "JourneyMigrationIn": {"to": 1},
    "CaseClosingIn": {"reason": "paid"},
    "CaseBatchIn": {"cases": [{"id": "C-94", "case": case_body(94)}]},
    "HoldIn": {"reason": "a test"},
    "OptOutIn": {"channel": "email", "source": "letter"},
    "ConsentIn": {"category": "promotional", "source": "letter", "evidence": "dms/7"},
    "DecisionIn": request(92),
    "ConversationAnswerIn": {"revision": 1, "text": "a test"},
    "ConversationCloseIn": {"outcome": "other", "reason": "a test"},
    "ReviewIn": {"reason": "a test"},
    "RefusalIn": {"reason": "a test"},
    "SuppressionIn": {"channel": "sms", "address": "+886912345678", "reason": "wrong_party"},
    "GiveUpIn": {"ids": ["ntf_of_a_test"], "reason": "a test"},
    "RedriveIn": {"filter_reason": "expired", "reason": "a test"},
    "ControlIn": {"scope": "channel", "value": "sms", "reason": "a test"},
    "ImportIn": {"templates": {"of-a-test": {"nothing.txt": ""}}, "comment": "a test"},
    "BeginIn": {"comment": "a test"},
    "SaveIn": {"files": {}},
    "TextIn": {"number": 1},
    "PreviewIn": {"number": 1},
    "GlossaryIn": {"terms": [{"id": "plan", "words": {"en": "payment plan"}}]},
    "NewTemplateIn": {"title": "A test", "purpose": "first-reminder", "channels": ["sms"], "locales": ["en-US"]},
    "CommentAtIn": {"channel": "sms", "locale": "en-US", "comment": "a test"},
    "ExplainIn": {"finding": "0" * 16, "comment": "a test"},
    "CommentIn": {"comment": "a test"},
    "ReasonIn": {"comment": "a test"},
    "PublishIn": {"comment": "a test"},
    "RollBackIn": {"comment": "a test"},
    "EnterProviderTemplateIn": {"reference": "r"},
    "ReportProviderTemplateIn": {"status": "submitted"},
    "TestSendIn": {"channel": "sms", "address": "+886912345678"},
    "WebhookEndpointIn": {"url": "https://example.com/hook"},
    "ReplayIn": {"all": True},
}


@dataclass(frozen=True)
class Operation:
    """One method on one path. ``schema`` is its body's, "" where it has none."""

    method: str
    path: str
    schema: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    async def call(self, client: Client, ids: Mapping[str, Any], **changes: Any) -> Answer:
        """Call it with a valid body over ``changes``, and with ``ids`` by the names of its path's parameters."""
        body = {**_BODIES[self.schema], **changes} if self.schema else None
        return await client.call(self.method, self.path.format_map(ids), body, headers={"If-Match": '"1"'})


async def operations(client: Client) -> list[Operation]:
    """Those that the API's own description says need a key, in its order."""
    document = (await client.get("/openapi.json")).json
    return [
        Operation(method.upper(), path, _schema(operation))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") == [{"apiKey": []}]
    ]


def _schema(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return str(content["application/json"]["schema"]["$ref"]).rpartition("/")[2] if content else ""
