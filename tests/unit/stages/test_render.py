"""Render: the words are in the language that the borrower chose after the request was accepted."""

from __future__ import annotations

from channels.content import Content
from gateway.core.deliveries import ClaimedDelivery, Delivery
from gateway.core.facts import BorrowerFacts, ChosenPreferences, Facts
from gateway.core.notifications import Notification
from gateway.core.security.message_links import MessageLinks
from gateway.core.states import State
from gateway.stages.render import in_chosen_language, render
from tests.support.storage.ledgers import NOW, draft


def test_a_message_is_rendered_in_the_chosen_language() -> None:
    """The locale that the catalog gets is the chosen one, and the delivery's links come with it."""
    delivery = Delivery("dlv_1", "ntf_1", 0, "sms", "digest", State.SENDING)
    facts = BorrowerFacts(1, Facts(chosen=ChosenPreferences(language="en")))
    work = ClaimedDelivery(delivery, draft("k1").notification, facts, State.SENDING, True)

    def render_one(notification: Notification, channel: str, links: MessageLinks) -> Content:
        return Content(f"{notification.borrower.locale} {channel} {links.page_url}")

    links = MessageLinks(page_url="https://a.example/m/dlv_1")
    [message], failed = render(in_chosen_language([work]), render_one, lambda delivery_id, category: links, NOW)
    assert (message.content.text, failed) == ("en-TW sms https://a.example/m/dlv_1", [])
    unchosen = ClaimedDelivery(delivery, work.notification, BorrowerFacts(1, Facts()), State.SENDING, True)
    [same] = in_chosen_language([unchosen])
    assert same.notification.borrower.locale == "zh-TW"
