"""Accept: validates a request and decides the first steps of its route; stores nothing.

Everything that would make the reminder fail later for certain (an address that can't be reached, a missing
variable, a zone that doesn't exist) is refused now, with the field and the remedy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import available_timezones

from channels.base import Content
from gateway.core.codec import fingerprint
from gateway.core.errors import RenderFailed, UnknownTemplate
from gateway.core.facts import BorrowerFacts, DeclaredPreferences
from gateway.core.notifications import Case, Category, Notification, new_id
from gateway.core.requests import (
    DecidedRequest,
    FieldError,
    NotificationRequest,
    RejectedRequest,
    StepDecision,
    TemplateInfo,
    ValidatedRequest,
)
from gateway.core.suggestions import did_you_mean
from gateway.core.verdicts import VerdictKind
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.facts import facts_for

_ZONES = available_timezones()


def dedup_key(borrower_id: str, case: Case, given: str | None) -> str:
    """The key of requests with the same meaning: borrower, case, stage and due date, or what the client gives."""
    if given:
        return f"given:{given}"
    meaning = "\x1f".join((borrower_id, case.id, case.stage, case.due_date.isoformat()))
    return hashlib.sha256(meaning.encode()).hexdigest()


class RequestValidator:
    """Validates requests, and decides those that are valid."""

    def __init__(
        self,
        *,
        resolve: Callable[[str, str, str | None, datetime], TemplateInfo],
        wrong_variables: Callable[[str, NotificationRequest, str], Sequence[FieldError]],
        render: Callable[[Notification, str], Content],
        normalise: Callable[[str, str], str],
        decide: ContactPolicy,
        digest: Callable[[str, str, str], str],
        channels: Collection[str],
    ) -> None:
        """``resolve``, ``wrong_variables`` and ``render`` are the catalog's, ``normalise`` the channels'.

        ``digest`` keys an address: (tenant, channel, address). ``channels`` are the names of those that exist.
        """
        self._resolve = resolve
        self._wrong_variables = wrong_variables
        self._render = render
        self._normalise = normalise
        self._decide = decide
        self._digest = digest
        self._channels = channels

    def examine(
        self, tenant: str, incoming: NotificationRequest, now: datetime, client: str = ""
    ) -> ValidatedRequest | RejectedRequest:
        """The request as a notification with its rendered texts, or why it is refused: all errors at once."""
        addresses, errors = self._normalised(incoming)
        errors += _wrong_times(incoming, now) + _wrong_zones(incoming.borrower.time_zones)
        try:
            template = self._resolve(tenant, incoming.template, incoming.template_version, now)
        except UnknownTemplate as error:
            detail = f"there is no such template or version{did_you_mean(incoming.template, error.known)}"
            return RejectedRequest("unknown_template", (FieldError("/template", detail), *errors))
        errors += _wrong_route(incoming, template)
        wrong = self._wrong_variables(tenant, incoming, template.version)
        if errors or wrong:
            return RejectedRequest("invalid_request" if errors else "invalid_variables", (*errors, *wrong))
        notification = _notification(tenant, incoming, template, addresses, now, client)
        texts = self._texts(notification)
        return (
            texts
            if isinstance(texts, RejectedRequest)
            else ValidatedRequest(notification, fingerprint(incoming.raw), texts)
        )

    def _texts(self, notification: Notification) -> dict[str, str] | RejectedRequest:
        """The trial rendering: a request that can't be rendered is refused now, not found out at hand-off."""
        texts: dict[str, str] = {}
        for channel in dict.fromkeys(step.channel for step in notification.route):
            try:
                texts[channel] = self._render(notification, channel).text
            except RenderFailed as error:
                return _refused("invalid_variables", "/template", f"can't be rendered with these variables: {error}")
        return texts

    def draft(
        self, examined: ValidatedRequest, known: BorrowerFacts, now: datetime, pack_names: Sequence[str] = ()
    ) -> DecidedRequest:
        """Decide the route from its start: suppressed steps are skipped, and the first other one is the next step."""
        notification = examined.notification
        # What this request declares replaces what earlier ones declared.
        facts = replace(facts_for(notification, known), stated=DeclaredPreferences())
        steps: list[StepDecision] = []
        for number, (step, digest) in enumerate(zip(notification.route, self.digests(notification), strict=True)):
            text = examined.texts[step.channel]
            verdict = self._decide(
                notification, step.channel, facts, now, address_digest=digest, text=text, pack_names=pack_names
            )
            steps.append(StepDecision(number, step.channel, digest, verdict))
            if verdict.kind is not VerdictKind.SUPPRESS:
                break
        return DecidedRequest(notification, examined.fingerprint, tuple(steps))

    def digests(self, notification: Notification) -> list[str]:
        """The keyed digest of the address of each step of the route."""
        return [
            self._digest(notification.tenant, step.channel, notification.address(step.channel) or "")
            for step in notification.route
        ]

    def _normalised(self, incoming: NotificationRequest) -> tuple[dict[str, str], list[FieldError]]:
        addresses: dict[str, str] = {}
        errors: list[FieldError] = []
        wanted = {step.channel for step in incoming.route}
        for channel in wanted - incoming.borrower.addresses.keys():
            detail = "the route uses this channel: give its address, or take the channel out of the route"
            errors.append(FieldError(f"/borrower/addresses/{channel}", detail))
        for channel, address in incoming.borrower.addresses.items():
            try:
                addresses[channel] = self._normalise(channel, address)
            except KeyError:
                detail = f"there is no such channel{did_you_mean(channel, self._channels)}"
                errors.append(FieldError(f"/borrower/addresses/{channel}", detail))
            except ValueError as error:
                errors.append(FieldError(f"/borrower/addresses/{channel}", str(error)))
        return addresses, errors


def _notification(
    tenant: str,
    incoming: NotificationRequest,
    template: TemplateInfo,
    addresses: Mapping[str, str],
    now: datetime,
    client: str,
) -> Notification:
    identifier = new_id("ntf", now)
    return Notification(
        id=identifier,
        tenant=tenant,
        idempotency_key=incoming.idempotency_key or identifier,
        dedup_key=dedup_key(incoming.borrower.id, incoming.case, incoming.dedup_key),
        borrower=replace(incoming.borrower, addresses=addresses),
        case=incoming.case,
        template=incoming.template,
        template_version=template.version,
        variables=incoming.variables,
        route=incoming.route,
        category=incoming.category or Category(template.category),
        accepted_at=now,
        send_at=incoming.send_at,
        expires_at=incoming.expires_at,
        metadata=incoming.metadata,
        must_arrive=template.must_arrive,
        client=client,
    )


def _refused(reason: str, pointer: str, detail: str) -> RejectedRequest:
    return RejectedRequest(reason, (FieldError(pointer, detail),))


def _wrong_zones(zones: Iterable[str]) -> list[FieldError]:
    return [
        FieldError(f"/borrower/time_zones/{number}", "is not an IANA time zone; write it like Asia/Taipei")
        for number, zone in enumerate(zones)
        if zone not in _ZONES
    ]


def _wrong_times(incoming: NotificationRequest, now: datetime) -> list[FieldError]:
    errors = []
    if incoming.expires_at is not None and incoming.expires_at <= now:
        errors.append(FieldError("/expires_at", "is in the past; give a later instant or leave it out"))
    elif incoming.send_at is not None and incoming.expires_at is not None and incoming.send_at >= incoming.expires_at:
        errors.append(FieldError("/send_at", "is not before expires_at, so nothing could ever be sent"))
    return errors


def _wrong_route(incoming: NotificationRequest, template: TemplateInfo) -> list[FieldError]:
    errors = [
        FieldError(f"/route/{number}/channel", "the template has no text for this channel")
        for number, step in enumerate(incoming.route)
        if step.channel not in template.channels
    ]
    if incoming.category is not None and incoming.category.value != template.category:
        errors.append(
            FieldError("/category", f"this template is for {template.category}: say so, or leave category out")
        )
    return errors
