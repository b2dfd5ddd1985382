"""One method for each operation, written by ops/client/generate from the gateway's OpenAPI document. Don't edit it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import BaseModel

from .calls import Call
from .models import (
    AcceptedOut,
    BatchIn,
    BatchOut,
    BorrowerHoldOut,
    BorrowerOut,
    CancelledOut,
    CaseBatchIn,
    CaseBatchOut,
    CaseClosingIn,
    CasePutIn,
    CaseStateOut,
    ClosedCaseOut,
    ConsentIn,
    ConsentOut,
    ControlEndedOut,
    ControlIn,
    ControlListOut,
    ControlOut,
    DeadLetterListOut,
    DecisionIn,
    DecisionOut,
    FedCaseOut,
    GiveUpIn,
    GiveUpOut,
    HoldIn,
    NotificationIn,
    NotificationListOut,
    NotificationOut,
    OptOutIn,
    OptOutRecordedOut,
    PaymentIn,
    PlanIn,
    PromiseIn,
    RedriveIn,
    RedriveOut,
    RefusalIn,
    ReplayedOut,
    ReplayIn,
    ReviewedOut,
    ReviewIn,
    ReviewListOut,
    ReviewOriginalOut,
    SentMessagesOut,
    State,
    SuppressionIn,
    SuppressionListOut,
    SuppressionSetOut,
    TimelineOut,
    WebhookEndpointIn,
    WebhookEndpointListOut,
    WebhookEndpointOut,
    WebhookMessageListOut,
    WebhookMessageOut,
    WebhookSecretOut,
)

T = TypeVar("T", bound=BaseModel | None)


class Operations(ABC):
    """Blocking."""

    @abstractmethod
    def call(self, call: Call, answer: type[T]) -> T:
        """Make a call."""

    def create_notification(self, body: NotificationIn, *, idempotency_key: str | None = None) -> AcceptedOut:
        """Take a reminder: 202 when it is stored, 200 when this idempotency key was answered before."""
        return self.call(
            Call("POST", ("v1", "notifications"), body=body, headers={"Idempotency-Key": idempotency_key}), AcceptedOut
        )

    def list_notifications(
        self,
        *,
        borrower_id: str | None = None,
        case_id: str | None = None,
        state: State | None = None,
        template: str | None = None,
        id_prefix: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> NotificationListOut:
        """Notifications, newest first."""
        return self.call(
            Call(
                "GET",
                ("v1", "notifications"),
                query={
                    "borrower_id": borrower_id,
                    "case_id": case_id,
                    "state": state,
                    "template": template,
                    "id_prefix": id_prefix,
                    "from": from_,
                    "to": to,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            NotificationListOut,
        )

    def create_notification_batch(self, body: BatchIn, *, idempotency_key: str | None = None) -> BatchOut:
        """Take up to 1,000 reminders; one result for each, in order."""
        return self.call(
            Call("POST", ("v1", "notifications", "batch"), body=body, headers={"Idempotency-Key": idempotency_key}),
            BatchOut,
        )

    def get_notification(self, notification_id: str) -> NotificationOut:
        """State, verdict with every rule behind it, deliveries, attempts and events of one notification."""
        return self.call(Call("GET", ("v1", "notifications", notification_id)), NotificationOut)

    def list_messages(self, notification_id: str) -> SentMessagesOut:
        """The words of each attempt, exactly as they were handed over. Each call is an entry of the
        administrators' log."""
        return self.call(Call("GET", ("v1", "notifications", notification_id, "messages")), SentMessagesOut)

    def cancel_notification(self, notification_id: str) -> CancelledOut:
        """Stop what has not been handed to a provider; 409 when there is nothing left to stop."""
        return self.call(Call("POST", ("v1", "notifications", notification_id, "cancel")), CancelledOut)

    def save_case_batch(self, body: CaseBatchIn) -> CaseBatchOut:
        """Up to 1,000 cases with any of their parts; one result for each, in order. Safe to repeat."""
        return self.call(Call("POST", ("v1", "cases", "batch"), body=body), CaseBatchOut)

    def save_case(self, case_id: str, body: CasePutIn) -> FedCaseOut:
        """What the case system says of a case at ``as_of``. An older snapshot than the one known changes
        nothing."""
        return self.call(Call("PUT", ("v1", "cases", case_id), body=body), FedCaseOut)

    def get_case(self, case_id: str) -> CaseStateOut:
        """What was fed of a case, without the borrower's name and addresses, and what follows from it."""
        return self.call(Call("GET", ("v1", "cases", case_id)), CaseStateOut)

    def add_payment(self, case_id: str, body: PaymentIn) -> FedCaseOut:
        """A payment. Where nothing is due after it, nothing more is sent from the answer on."""
        return self.call(Call("POST", ("v1", "cases", case_id, "payments"), body=body), FedCaseOut)

    def add_promise(self, case_id: str, body: PromiseIn) -> FedCaseOut:
        """A promise to pay: collections wait until its day is over."""
        return self.call(Call("POST", ("v1", "cases", case_id, "promises"), body=body), FedCaseOut)

    def add_plan(self, case_id: str, body: PlanIn) -> FedCaseOut:
        """A repayment plan that was agreed, or that has ended: collections wait while it is in place."""
        return self.call(Call("POST", ("v1", "cases", case_id, "plans"), body=body), FedCaseOut)

    def close_case(self, case_id: str, body: CaseClosingIn) -> ClosedCaseOut:
        """Cancel all that is pending for the case, and suppress what comes later; ``{"reason": "paid"}``."""
        return self.call(Call("POST", ("v1", "cases", case_id, "close"), body=body), ClosedCaseOut)

    def get_borrower(self, borrower_id: str) -> BorrowerOut:
        """Holds, opt-outs, consents, replies, the latest contacts, and when each channel may next be used."""
        return self.call(Call("GET", ("v1", "borrowers", borrower_id)), BorrowerOut)

    def get_timeline(self, borrower_id: str, *, limit: int = 200, cursor: str | None = None) -> TimelineOut:
        """Every request, verdict, message, receipt, hold and opt-out, in order."""
        return self.call(
            Call("GET", ("v1", "borrowers", borrower_id, "timeline"), query={"limit": limit, "cursor": cursor}),
            TimelineOut,
        )

    def set_hold(self, borrower_id: str, kind: str, body: HoldIn) -> BorrowerHoldOut:
        """Set or replace a hold: no contact while it stands. In force when this answers."""
        return self.call(Call("PUT", ("v1", "borrowers", borrower_id, "holds", kind), body=body), BorrowerHoldOut)

    def lift_hold(self, borrower_id: str, kind: str) -> None:
        """Lift the holds of this kind; what they deferred is looked at again at once. 409 where a policy pack
        wants two persons for it."""
        self.call(Call("DELETE", ("v1", "borrowers", borrower_id, "holds", kind)), type(None))

    def add_opt_out(self, borrower_id: str, body: OptOutIn) -> OptOutRecordedOut:
        """Record that the borrower said no. When this answers, nothing goes there any more."""
        return self.call(Call("POST", ("v1", "borrowers", borrower_id, "opt-outs"), body=body), OptOutRecordedOut)

    def lift_opt_out(self, borrower_id: str, opt_out_id: str) -> None:
        """Take an opt-out back; the record that it stood remains."""
        self.call(Call("DELETE", ("v1", "borrowers", borrower_id, "opt-outs", opt_out_id)), type(None))

    def give_consent(self, borrower_id: str, body: ConsentIn) -> ConsentOut:
        """Record that the borrower agreed to a category of messages, or to it by one channel, and where the
        proof is."""
        return self.call(Call("POST", ("v1", "borrowers", borrower_id, "consents"), body=body), ConsentOut)

    def withdraw_consent(self, borrower_id: str, category: str, *, channel: str | None = None) -> None:
        """Take a consent back; the record that it was given remains."""
        self.call(
            Call("DELETE", ("v1", "borrowers", borrower_id, "consents", category), query={"channel": channel}),
            type(None),
        )

    def decide_notification(self, body: DecisionIn) -> DecisionOut:
        """The verdict on a request at an instant, with every rule behind it."""
        return self.call(Call("POST", ("v1", "decisions"), body=body), DecisionOut)

    def list_reviews(self, *, reason: str | None = None, limit: int = 100, cursor: str | None = None) -> ReviewListOut:
        """Deliveries, replies and unverified reports that wait for a person, the most urgent first, then the
        oldest."""
        return self.call(
            Call("GET", ("v1", "reviews"), query={"reason": reason, "limit": limit, "cursor": cursor}), ReviewListOut
        )

    def get_review_original(self, item: str) -> ReviewOriginalOut:
        """The mail of an unverified report as it came, in base64 (RFC 4648), up to 256,000 octets of it."""
        return self.call(Call("GET", ("v1", "reviews", item, "original")), ReviewOriginalOut)

    def approve_review(self, item: str, body: ReviewIn) -> ReviewedOut:
        """The borrower may be contacted: the delivery is decided anew, or the reply was no stop, or a report is
        closed. 409 where it can't be approved, and where a policy pack wants two persons for it."""
        return self.call(Call("POST", ("v1", "reviews", item, "approve"), body=body), ReviewedOut)

    def refuse_review(self, item: str, body: RefusalIn) -> ReviewedOut:
        """The borrower must not be contacted: the delivery is cancelled, or the reply was a stop. With
        ``borrower_id``: an unverified complaint or bounce is about the latest message to this borrower by its
        channel, whose address is opted out, or not written to again."""
        return self.call(Call("POST", ("v1", "reviews", item, "refuse"), body=body), ReviewedOut)

    def list_suppressions(self, *, limit: int = 200, cursor: str | None = None) -> SuppressionListOut:
        """Addresses that are used for nobody: suppressed, or opted out by a reply or at the provider. By their
        digests."""
        return self.call(
            Call("GET", ("v1", "suppressions"), query={"limit": limit, "cursor": cursor}), SuppressionListOut
        )

    def set_suppression(self, body: SuppressionIn) -> SuppressionSetOut:
        """Suppress an address with ``reason``, or without one say that it may be used again."""
        return self.call(Call("POST", ("v1", "suppressions"), body=body), SuppressionSetOut)

    def list_dead_letters(
        self, *, reason: str | None = None, channel: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> DeadLetterListOut:
        """Notifications that stand at ``failed``, the oldest first, each with its reason."""
        return self.call(
            Call(
                "GET",
                ("v1", "dead-letters"),
                query={"reason": reason, "channel": channel, "limit": limit, "cursor": cursor},
            ),
            DeadLetterListOut,
        )

    def redrive_dead_letters(self, body: RedriveIn) -> RedriveOut:
        """Try up to 1,000 again, through the policy; with ``dry_run`` only say which would be."""
        return self.call(Call("POST", ("v1", "dead-letters", "redrive"), body=body), RedriveOut)

    def give_up_dead_letters(self, body: GiveUpIn) -> GiveUpOut:
        """Take up to 1,000 out of the list for good. They keep their state and the reason of their failure."""
        return self.call(Call("POST", ("v1", "dead-letters", "give-up"), body=body), GiveUpOut)

    def list_controls(self, *, ended: bool = False) -> ControlListOut:
        """What is stopped or pinned now: by whom, why and until when. The scope platform lists all that it may
        end."""
        return self.call(Call("GET", ("v1", "controls"), query={"ended": ended}), ControlListOut)

    def set_control(self, body: ControlIn) -> ControlOut:
        """Stop or pin. When this answers, it holds for every message that is not being handed over already."""
        return self.call(Call("POST", ("v1", "controls"), body=body), ControlOut)

    def end_control(self, control_id: str) -> ControlEndedOut:
        """Resume: what was held up is due at once, and decided anew. A control of the platform takes the scope
        platform, one of the whole tenant the scope admin."""
        return self.call(Call("DELETE", ("v1", "controls", control_id)), ControlEndedOut)

    def list_webhook_endpoints(self) -> WebhookEndpointListOut:
        """The endpoints, without their secrets."""
        return self.call(Call("GET", ("v1", "webhook-endpoints")), WebhookEndpointListOut)

    def create_webhook_endpoint(self, body: WebhookEndpointIn) -> WebhookSecretOut:
        """A new endpoint; the answer has its secret, which is not shown again."""
        return self.call(Call("POST", ("v1", "webhook-endpoints"), body=body), WebhookSecretOut)

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpointOut:
        """One endpoint, without its secret."""
        return self.call(Call("GET", ("v1", "webhook-endpoints", endpoint_id)), WebhookEndpointOut)

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Delete this webhook with its delivery log."""
        self.call(Call("DELETE", ("v1", "webhook-endpoints", endpoint_id)), type(None))

    def rotate_webhook_secret(self, endpoint_id: str) -> WebhookSecretOut:
        """A new secret. For a day messages are signed with both, so that none is refused while it is changed."""
        return self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "rotate")), WebhookSecretOut)

    def enable_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpointOut:
        """Enable an endpoint that was disabled because it answered 410 Gone; it gets the messages that it
        missed, too."""
        return self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "enable")), WebhookEndpointOut)

    def test_webhook_endpoint(self, endpoint_id: str) -> WebhookMessageOut:
        """Send one signed message of the type webhook_endpoint.test now, whatever its types; how that went. It
        stands in the delivery log as well, and is not sent again."""
        return self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "test")), WebhookMessageOut)

    def list_webhook_messages(
        self,
        endpoint_id: str,
        *,
        state: Literal["pending", "delivered", "failed"] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> WebhookMessageListOut:
        """The delivery log of the last thirty days, the latest first: each message, its attempts and the last
        answer."""
        return self.call(
            Call(
                "GET",
                ("v1", "webhook-endpoints", endpoint_id, "messages"),
                query={"state": state, "limit": limit, "cursor": cursor},
            ),
            WebhookMessageListOut,
        )

    def replay_webhook_messages(self, endpoint_id: str, body: ReplayIn) -> ReplayedOut:
        """Send messages again, under the same ids, by which the endpoint can ignore those that it has."""
        return self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "replay"), body=body), ReplayedOut)


class AsyncOperations(ABC):
    """For asyncio."""

    @abstractmethod
    async def call(self, call: Call, answer: type[T]) -> T:
        """Make a call."""

    async def create_notification(self, body: NotificationIn, *, idempotency_key: str | None = None) -> AcceptedOut:
        """Take a reminder: 202 when it is stored, 200 when this idempotency key was answered before."""
        return await self.call(
            Call("POST", ("v1", "notifications"), body=body, headers={"Idempotency-Key": idempotency_key}), AcceptedOut
        )

    async def list_notifications(
        self,
        *,
        borrower_id: str | None = None,
        case_id: str | None = None,
        state: State | None = None,
        template: str | None = None,
        id_prefix: str | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> NotificationListOut:
        """Notifications, newest first."""
        return await self.call(
            Call(
                "GET",
                ("v1", "notifications"),
                query={
                    "borrower_id": borrower_id,
                    "case_id": case_id,
                    "state": state,
                    "template": template,
                    "id_prefix": id_prefix,
                    "from": from_,
                    "to": to,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            NotificationListOut,
        )

    async def create_notification_batch(self, body: BatchIn, *, idempotency_key: str | None = None) -> BatchOut:
        """Take up to 1,000 reminders; one result for each, in order."""
        return await self.call(
            Call("POST", ("v1", "notifications", "batch"), body=body, headers={"Idempotency-Key": idempotency_key}),
            BatchOut,
        )

    async def get_notification(self, notification_id: str) -> NotificationOut:
        """State, verdict with every rule behind it, deliveries, attempts and events of one notification."""
        return await self.call(Call("GET", ("v1", "notifications", notification_id)), NotificationOut)

    async def list_messages(self, notification_id: str) -> SentMessagesOut:
        """The words of each attempt, exactly as they were handed over. Each call is an entry of the
        administrators' log."""
        return await self.call(Call("GET", ("v1", "notifications", notification_id, "messages")), SentMessagesOut)

    async def cancel_notification(self, notification_id: str) -> CancelledOut:
        """Stop what has not been handed to a provider; 409 when there is nothing left to stop."""
        return await self.call(Call("POST", ("v1", "notifications", notification_id, "cancel")), CancelledOut)

    async def save_case_batch(self, body: CaseBatchIn) -> CaseBatchOut:
        """Up to 1,000 cases with any of their parts; one result for each, in order. Safe to repeat."""
        return await self.call(Call("POST", ("v1", "cases", "batch"), body=body), CaseBatchOut)

    async def save_case(self, case_id: str, body: CasePutIn) -> FedCaseOut:
        """What the case system says of a case at ``as_of``. An older snapshot than the one known changes
        nothing."""
        return await self.call(Call("PUT", ("v1", "cases", case_id), body=body), FedCaseOut)

    async def get_case(self, case_id: str) -> CaseStateOut:
        """What was fed of a case, without the borrower's name and addresses, and what follows from it."""
        return await self.call(Call("GET", ("v1", "cases", case_id)), CaseStateOut)

    async def add_payment(self, case_id: str, body: PaymentIn) -> FedCaseOut:
        """A payment. Where nothing is due after it, nothing more is sent from the answer on."""
        return await self.call(Call("POST", ("v1", "cases", case_id, "payments"), body=body), FedCaseOut)

    async def add_promise(self, case_id: str, body: PromiseIn) -> FedCaseOut:
        """A promise to pay: collections wait until its day is over."""
        return await self.call(Call("POST", ("v1", "cases", case_id, "promises"), body=body), FedCaseOut)

    async def add_plan(self, case_id: str, body: PlanIn) -> FedCaseOut:
        """A repayment plan that was agreed, or that has ended: collections wait while it is in place."""
        return await self.call(Call("POST", ("v1", "cases", case_id, "plans"), body=body), FedCaseOut)

    async def close_case(self, case_id: str, body: CaseClosingIn) -> ClosedCaseOut:
        """Cancel all that is pending for the case, and suppress what comes later; ``{"reason": "paid"}``."""
        return await self.call(Call("POST", ("v1", "cases", case_id, "close"), body=body), ClosedCaseOut)

    async def get_borrower(self, borrower_id: str) -> BorrowerOut:
        """Holds, opt-outs, consents, replies, the latest contacts, and when each channel may next be used."""
        return await self.call(Call("GET", ("v1", "borrowers", borrower_id)), BorrowerOut)

    async def get_timeline(self, borrower_id: str, *, limit: int = 200, cursor: str | None = None) -> TimelineOut:
        """Every request, verdict, message, receipt, hold and opt-out, in order."""
        return await self.call(
            Call("GET", ("v1", "borrowers", borrower_id, "timeline"), query={"limit": limit, "cursor": cursor}),
            TimelineOut,
        )

    async def set_hold(self, borrower_id: str, kind: str, body: HoldIn) -> BorrowerHoldOut:
        """Set or replace a hold: no contact while it stands. In force when this answers."""
        return await self.call(Call("PUT", ("v1", "borrowers", borrower_id, "holds", kind), body=body), BorrowerHoldOut)

    async def lift_hold(self, borrower_id: str, kind: str) -> None:
        """Lift the holds of this kind; what they deferred is looked at again at once. 409 where a policy pack
        wants two persons for it."""
        await self.call(Call("DELETE", ("v1", "borrowers", borrower_id, "holds", kind)), type(None))

    async def add_opt_out(self, borrower_id: str, body: OptOutIn) -> OptOutRecordedOut:
        """Record that the borrower said no. When this answers, nothing goes there any more."""
        return await self.call(Call("POST", ("v1", "borrowers", borrower_id, "opt-outs"), body=body), OptOutRecordedOut)

    async def lift_opt_out(self, borrower_id: str, opt_out_id: str) -> None:
        """Take an opt-out back; the record that it stood remains."""
        await self.call(Call("DELETE", ("v1", "borrowers", borrower_id, "opt-outs", opt_out_id)), type(None))

    async def give_consent(self, borrower_id: str, body: ConsentIn) -> ConsentOut:
        """Record that the borrower agreed to a category of messages, or to it by one channel, and where the
        proof is."""
        return await self.call(Call("POST", ("v1", "borrowers", borrower_id, "consents"), body=body), ConsentOut)

    async def withdraw_consent(self, borrower_id: str, category: str, *, channel: str | None = None) -> None:
        """Take a consent back; the record that it was given remains."""
        await self.call(
            Call("DELETE", ("v1", "borrowers", borrower_id, "consents", category), query={"channel": channel}),
            type(None),
        )

    async def decide_notification(self, body: DecisionIn) -> DecisionOut:
        """The verdict on a request at an instant, with every rule behind it."""
        return await self.call(Call("POST", ("v1", "decisions"), body=body), DecisionOut)

    async def list_reviews(
        self, *, reason: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> ReviewListOut:
        """Deliveries, replies and unverified reports that wait for a person, the most urgent first, then the
        oldest."""
        return await self.call(
            Call("GET", ("v1", "reviews"), query={"reason": reason, "limit": limit, "cursor": cursor}), ReviewListOut
        )

    async def get_review_original(self, item: str) -> ReviewOriginalOut:
        """The mail of an unverified report as it came, in base64 (RFC 4648), up to 256,000 octets of it."""
        return await self.call(Call("GET", ("v1", "reviews", item, "original")), ReviewOriginalOut)

    async def approve_review(self, item: str, body: ReviewIn) -> ReviewedOut:
        """The borrower may be contacted: the delivery is decided anew, or the reply was no stop, or a report is
        closed. 409 where it can't be approved, and where a policy pack wants two persons for it."""
        return await self.call(Call("POST", ("v1", "reviews", item, "approve"), body=body), ReviewedOut)

    async def refuse_review(self, item: str, body: RefusalIn) -> ReviewedOut:
        """The borrower must not be contacted: the delivery is cancelled, or the reply was a stop. With
        ``borrower_id``: an unverified complaint or bounce is about the latest message to this borrower by its
        channel, whose address is opted out, or not written to again."""
        return await self.call(Call("POST", ("v1", "reviews", item, "refuse"), body=body), ReviewedOut)

    async def list_suppressions(self, *, limit: int = 200, cursor: str | None = None) -> SuppressionListOut:
        """Addresses that are used for nobody: suppressed, or opted out by a reply or at the provider. By their
        digests."""
        return await self.call(
            Call("GET", ("v1", "suppressions"), query={"limit": limit, "cursor": cursor}), SuppressionListOut
        )

    async def set_suppression(self, body: SuppressionIn) -> SuppressionSetOut:
        """Suppress an address with ``reason``, or without one say that it may be used again."""
        return await self.call(Call("POST", ("v1", "suppressions"), body=body), SuppressionSetOut)

    async def list_dead_letters(
        self, *, reason: str | None = None, channel: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> DeadLetterListOut:
        """Notifications that stand at ``failed``, the oldest first, each with its reason."""
        return await self.call(
            Call(
                "GET",
                ("v1", "dead-letters"),
                query={"reason": reason, "channel": channel, "limit": limit, "cursor": cursor},
            ),
            DeadLetterListOut,
        )

    async def redrive_dead_letters(self, body: RedriveIn) -> RedriveOut:
        """Try up to 1,000 again, through the policy; with ``dry_run`` only say which would be."""
        return await self.call(Call("POST", ("v1", "dead-letters", "redrive"), body=body), RedriveOut)

    async def give_up_dead_letters(self, body: GiveUpIn) -> GiveUpOut:
        """Take up to 1,000 out of the list for good. They keep their state and the reason of their failure."""
        return await self.call(Call("POST", ("v1", "dead-letters", "give-up"), body=body), GiveUpOut)

    async def list_controls(self, *, ended: bool = False) -> ControlListOut:
        """What is stopped or pinned now: by whom, why and until when. The scope platform lists all that it may
        end."""
        return await self.call(Call("GET", ("v1", "controls"), query={"ended": ended}), ControlListOut)

    async def set_control(self, body: ControlIn) -> ControlOut:
        """Stop or pin. When this answers, it holds for every message that is not being handed over already."""
        return await self.call(Call("POST", ("v1", "controls"), body=body), ControlOut)

    async def end_control(self, control_id: str) -> ControlEndedOut:
        """Resume: what was held up is due at once, and decided anew. A control of the platform takes the scope
        platform, one of the whole tenant the scope admin."""
        return await self.call(Call("DELETE", ("v1", "controls", control_id)), ControlEndedOut)

    async def list_webhook_endpoints(self) -> WebhookEndpointListOut:
        """The endpoints, without their secrets."""
        return await self.call(Call("GET", ("v1", "webhook-endpoints")), WebhookEndpointListOut)

    async def create_webhook_endpoint(self, body: WebhookEndpointIn) -> WebhookSecretOut:
        """A new endpoint; the answer has its secret, which is not shown again."""
        return await self.call(Call("POST", ("v1", "webhook-endpoints"), body=body), WebhookSecretOut)

    async def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpointOut:
        """One endpoint, without its secret."""
        return await self.call(Call("GET", ("v1", "webhook-endpoints", endpoint_id)), WebhookEndpointOut)

    async def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Delete this webhook with its delivery log."""
        await self.call(Call("DELETE", ("v1", "webhook-endpoints", endpoint_id)), type(None))

    async def rotate_webhook_secret(self, endpoint_id: str) -> WebhookSecretOut:
        """A new secret. For a day messages are signed with both, so that none is refused while it is changed."""
        return await self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "rotate")), WebhookSecretOut)

    async def enable_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpointOut:
        """Enable an endpoint that was disabled because it answered 410 Gone; it gets the messages that it
        missed, too."""
        return await self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "enable")), WebhookEndpointOut)

    async def test_webhook_endpoint(self, endpoint_id: str) -> WebhookMessageOut:
        """Send one signed message of the type webhook_endpoint.test now, whatever its types; how that went. It
        stands in the delivery log as well, and is not sent again."""
        return await self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "test")), WebhookMessageOut)

    async def list_webhook_messages(
        self,
        endpoint_id: str,
        *,
        state: Literal["pending", "delivered", "failed"] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> WebhookMessageListOut:
        """The delivery log of the last thirty days, the latest first: each message, its attempts and the last
        answer."""
        return await self.call(
            Call(
                "GET",
                ("v1", "webhook-endpoints", endpoint_id, "messages"),
                query={"state": state, "limit": limit, "cursor": cursor},
            ),
            WebhookMessageListOut,
        )

    async def replay_webhook_messages(self, endpoint_id: str, body: ReplayIn) -> ReplayedOut:
        """Send messages again, under the same ids, by which the endpoint can ignore those that it has."""
        return await self.call(Call("POST", ("v1", "webhook-endpoints", endpoint_id, "replay"), body=body), ReplayedOut)
