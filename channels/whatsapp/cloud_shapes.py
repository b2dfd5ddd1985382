"""The shapes of Meta's Cloud API: what a message is sent as, and what its callbacks and answers say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from channels.base import Message, TemplateReport, TemplateStatus

_WORD = re.compile(r"[a-z_]{1,30}")
_WEBHOOK_LEVELS = ("phone_number", "whatsapp_business_account", "application")  # the first that is set counts
# The words of message_template_status_update and of the template's own ``status``.
_TEMPLATE_STATUSES: Mapping[str, TemplateStatus] = {
    "APPROVED": TemplateStatus.APPROVED,
    "REINSTATED": TemplateStatus.APPROVED,
    "FLAGGED": TemplateStatus.APPROVED,  # a warning: it will be paused or disabled if its quality stays low
    "PENDING": TemplateStatus.SUBMITTED,
    "IN_APPEAL": TemplateStatus.REJECTED,
    "REJECTED": TemplateStatus.REJECTED,
    "PAUSED": TemplateStatus.PAUSED,
    "DISABLED": TemplateStatus.DISABLED,
    "LIMIT_EXCEEDED": TemplateStatus.DISABLED,
    "PENDING_DELETION": TemplateStatus.DISABLED,
    "DELETED": TemplateStatus.DISABLED,
    "ARCHIVED": TemplateStatus.DISABLED,
}


def content(message: Message) -> Mapping[str, Any]:
    """What is sent besides the address: free text, or the call of a template."""
    call = message.content.template
    if call is None:
        return {"type": "text", "text": {"body": message.content.text}}
    # Templates have numbered or named parameters, never both.
    numbered = all(name.isdigit() for name, _ in call.parameters)
    parameters = [
        {"type": "text", **({} if numbered else {"parameter_name": name}), "text": value}
        for name, value in call.parameters
    ]
    template: dict[str, Any] = {"name": call.reference, "language": {"code": call.language}}
    if parameters:
        template["components"] = [{"type": "body", "parameters": parameters}]
    return {"type": "template", "template": template}


def text_of(kind: str, message: Mapping[str, Any]) -> str:
    """What the person wrote or chose; of a picture or a voice message its kind, for who reads the conversation."""
    found = message.get(kind)
    if kind == "text":
        return str(message["text"]["body"])
    if kind == "button":
        return str(message["button"]["text"])
    if kind == "interactive" and isinstance(found, dict):
        chosen = found.get(str(found.get("type")))
        if isinstance(chosen, dict) and "title" in chosen:
            return str(chosen["title"])
    return f"[{kind}]" if _WORD.fullmatch(kind) else "[?]"


def webhook_of(sender: Mapping[str, Any]) -> str:
    """Where the messages of a number are reported: its own URL, its account's or the app's; "" where it isn't said.

    Source: Meta, Webhook overrides.
    """
    configured = sender.get("webhook_configuration")
    found = configured if isinstance(configured, dict) else {}
    return next((str(found[each]) for each in _WEBHOOK_LEVELS if found.get(each)), "")


def state(template: Mapping[str, Any]) -> TemplateReport:
    """The state of a template in the account's list."""
    status = _TEMPLATE_STATUSES.get(str(template["status"]), TemplateStatus.PAUSED)
    if template.get("category") == "MARKETING":
        status = TemplateStatus.RECATEGORISED
    reason = str(template.get("rejected_reason", ""))
    return TemplateReport(str(template["name"]), status, str(template["language"]), "" if reason == "NONE" else reason)


def pushed_state(field: str, value: Mapping[str, Any]) -> Iterator[TemplateReport]:
    """The state that a webhook about a template says, if it concerns us."""
    name, language = str(value["message_template_name"]), str(value["message_template_language"])
    if field == "template_category_update":
        if value.get("new_category") == "MARKETING":
            yield TemplateReport(name, TemplateStatus.RECATEGORISED, language, "MARKETING")
        return
    status = _TEMPLATE_STATUSES.get(str(value["event"]))
    if status is not None:
        reason = str(value.get("reason") or "")
        yield TemplateReport(name, status, language, "" if reason == "NONE" else reason)
