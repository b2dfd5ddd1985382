"""Form: whether a message goes as free text or by the provider's approved template. Pure.

Never free text in a template's place: only within the service window, that is a time after the person's own message,
and in the category service. What can go in no form ends here, and its route goes on. At the last step it waits for a
template that the provider may yet approve, while the permitted time lasts; then a person decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from channels.base import (
    Capability,
    PermanentFailure,
    Provider,
    ProviderReason,
    SendFailure,
    SlotRules,
    TemplateCall,
    TemplateReport,
    TemplateStatus,
)
from channels.content import same_words
from channels.profile import Profiles
from gateway.core.deliveries import Attempt, Delivery, Outgoing, Transition, unresolved
from gateway.core.errors import RenderFailed
from gateway.core.notifications import Category, Notification
from gateway.core.provider_templates import TRANSIENT_STATUSES, ProviderTemplate, TemplateKey
from gateway.core.reasons import EndReason
from gateway.core.states import State

# How often a held message asks whether its template may be used; our choice: twice between two polls of the states.
HELD_FOR = timedelta(minutes=5)
_FREE_TEXT = Capability()
_HELD_STATES = frozenset(each.value for each in TRANSIENT_STATUSES)

WindowKey = tuple[str, str, str]  # (tenant, provider, address digest)
# What expressions of the template language come to, in a notification's message on a channel. Raises RenderFailed.
Evaluate = Callable[[Notification, str, Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class FormFacts:
    """What the ledger knows: providers' templates, and when each person last wrote to a provider's sender.

    ``templates`` are those of the messages' versions in any state, and the approved ones of other versions.
    """

    templates: Mapping[TemplateKey, ProviderTemplate]
    last_inbound: Mapping[WindowKey, datetime]


def needs_form(profiles: Profiles, channel: str, capability: Capability = _FREE_TEXT) -> bool:
    """Whether messages on the channel, or by a provider of this capability, are not always free text."""
    profile = profiles.get(channel)
    by_channel = profile is not None and (profile.templates_only or profile.service_window is not None)
    return by_channel or capability.templates_only


def with_templates(profiles: Profiles, providers: Mapping[str, Provider]) -> Mapping[str, Provider]:
    """Those of the providers whose messages may need one of their own templates, by name."""
    return {name: each for name, each in providers.items() if needs_form(profiles, each.channel, each.capability)}


def template_key(outgoing: Outgoing, locale: str) -> TemplateKey:
    notification = outgoing.work.notification
    return (
        notification.tenant,
        outgoing.provider,
        notification.template,
        notification.template_version,
        locale,
    )


def window_key(outgoing: Outgoing) -> WindowKey:
    return (outgoing.work.notification.tenant, outgoing.provider, outgoing.work.delivery.address_digest)


def choose_form(
    ready: Sequence[Outgoing],
    profiles: Profiles,
    locales: Mapping[str, str],
    facts: FormFacts,
    evaluate: Evaluate,
    now: datetime,
    capabilities: Mapping[str, Capability],
) -> tuple[list[Outgoing], list[Transition]]:
    """Give each message its form.

    ``locales`` has the locale in which each delivery's text was rendered, ``capabilities`` those of each provider.
    """
    going: list[Outgoing] = []
    transitions: list[Transition] = []
    for each in ready:
        channel, capability = each.work.delivery.channel, capabilities.get(each.provider, _FREE_TEXT)
        if not needs_form(profiles, channel, capability):
            going.append(each)
            continue
        key = template_key(each, locales[each.work.delivery.id])
        template = facts.templates.get(key)
        call, why = _call(each, template, evaluate, now, capability.slots)
        # An approved one of another version, where it says the same.
        others = _approved_elsewhere(facts, key) if call is None else ()
        call = next(filter(None, (_call(each, it, evaluate, now, capability.slots)[0] for it in others)), call)
        window_until = _window_until(each, profiles, facts)
        open_now = window_until is not None and now < window_until
        if call is not None:
            going.append(replace(each, content=replace(each.content, template=call), window_until=window_until))
        elif open_now and each.work.notification.category is Category.SERVICE:
            going.append(replace(each, window_until=window_until))
        else:
            # Without any template it would have been free text, had the person written.
            unusable = template is not None or profiles[channel].templates_only or capability.templates_only
            reason = EndReason.TEMPLATE_UNAVAILABLE if unusable else EndReason.WINDOW_CLOSED
            transitions.append(_not_sent(each, reason, why, now))
    return going, transitions


def _approved_elsewhere(facts: FormFacts, key: TemplateKey) -> Sequence[ProviderTemplate]:
    """The approved templates of other versions in a message's place: provider, template and locale."""
    tenant, provider, template, version, locale = key
    return [
        each
        for (*owner, other, spoken), each in facts.templates.items()
        if owner == [tenant, provider, template]
        and spoken == locale
        and other != version
        and each.status is TemplateStatus.APPROVED
    ]


def _window_until(outgoing: Outgoing, profiles: Profiles, facts: FormFacts) -> datetime | None:
    profile = profiles[outgoing.work.delivery.channel]
    wrote = facts.last_inbound.get(window_key(outgoing))
    if profile.templates_only or profile.service_window is None or wrote is None:
        return None
    return wrote + profile.service_window


def _call(
    outgoing: Outgoing, template: ProviderTemplate | None, evaluate: Evaluate, now: datetime, rules: SlotRules
) -> tuple[TemplateCall | None, str]:
    """The call of the provider's template, or why there is none."""
    if template is None:
        return None, "none"
    if template.status is not TemplateStatus.APPROVED:
        return None, template.status.value
    ends = outgoing.verdict.valid_until if outgoing.verdict else None
    if template.ttl is not None and ends is not None and now + template.ttl > ends:
        return None, "ttl"  # the provider could deliver it after the permitted time
    work = outgoing.work
    try:
        values = evaluate(work.notification, work.delivery.channel, [slot.expression for slot in template.slots])
        parameters = {slot.name: value for slot, value in zip(template.slots, values, strict=True)}
        text = template.filled(parameters)
    except (RenderFailed, KeyError):
        return None, "slots"
    if any(slot.issue(value, rules) for slot, value in zip(template.slots, values, strict=True)):
        return None, "slots"
    if not same_words(text, outgoing.content.text):
        return None, "differs"
    return TemplateCall(template.reference, template.language, tuple(parameters.items()), template.ttl), ""


def _not_sent(outgoing: Outgoing, reason: EndReason, why: str, now: datetime) -> Transition:
    delivery, notification = outgoing.work.delivery, outgoing.work.notification
    detail = {"provider": outgoing.provider, "template_state": why}
    if delivery.repeats_unknown_outcome:
        return unresolved(delivery, now)
    if delivery.step + 1 < len(notification.route):
        return Transition(delivery.id, "no_form", now, to=State.FAILED, reason=reason, detail=detail, next_step=True)
    if why in _HELD_STATES and (again := _held_until(outgoing, now)) is not None:
        kind = "" if _held(delivery) else "held"  # one event, however often it looks
        return Transition(delivery.id, kind, now, to=State.DEFERRED, reason=reason, detail=detail, due_at=again)
    return Transition(delivery.id, "no_form", now, to=State.REVIEW, reason=reason, detail=detail)


def _held_until(outgoing: Outgoing, now: datetime) -> datetime | None:
    """When to look again; None: the permitted time ends before, or nothing ends it."""
    verdict, expires = outgoing.verdict, outgoing.work.notification.expires_at
    ends = [each for each in (verdict.valid_until if verdict else None, expires) if each is not None]
    again = now + HELD_FOR
    return again if ends and again < min(ends) else None


def _held(delivery: Delivery) -> bool:
    return delivery.state is State.DEFERRED and delivery.reason == EndReason.TEMPLATE_UNAVAILABLE


def template_reports(attempts: Sequence[Attempt]) -> Mapping[str, Sequence[TemplateReport]]:
    """What refused attempts say of the templates that they used, each once, by provider."""
    found: dict[str, dict[TemplateReport, None]] = {}
    for each in attempts:
        if (report := template_report(each)) is not None:
            found.setdefault(each.provider, {})[report] = None
    return {provider: tuple(reports) for provider, reports in found.items()}


def template_report(attempt: Attempt) -> TemplateReport | None:
    """What a refused attempt says of the template that it used: it is paused, or where that is final, rejected."""
    call, result = attempt.message.content.template, attempt.result
    if call is None or not isinstance(result, SendFailure) or result.reason is not ProviderReason.TEMPLATE_UNAVAILABLE:
        return None
    status = TemplateStatus.REJECTED if isinstance(result, PermanentFailure) else TemplateStatus.PAUSED
    return TemplateReport(call.reference, status, call.language, result.code)
