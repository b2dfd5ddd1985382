"""Dates and amounts in replies, as a table; today is Tuesday, 24 November 2026."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.numerals import chinese_number
from gateway.conversations.slots import slots_of
from tests.support.rules.replies import shipped_interpreter

TODAY = date(2026, 11, 24)


@pytest.mark.parametrize(
    ("text", "jurisdiction", "day", "amount"),
    [
        ("下個月5號還三千五", "tw", date(2026, 12, 5), "3500"),
        ("下个月5号先还3,500元", "cn", date(2026, 12, 5), "3500"),
        ("我12月3日付兩千塊", "tw", date(2026, 12, 3), "2000"),
        ("十二月三號俾你五百蚊", "hk", date(2026, 12, 3), "500"),
        ("115年12月5日付款 NT$1,200", "tw", date(2026, 12, 5), "1200"),
        ("下週五匯一萬二", "tw", date(2026, 12, 4), "12000"),
        ("禮拜五", "tw", date(2026, 11, 27), None),
        ("5号", "cn", date(2026, 12, 5), None),
        ("30號", "tw", date(2026, 11, 30), None),
        ("月底还", "cn", date(2026, 11, 30), None),
        ("后天还1.5万", "cn", date(2026, 11, 26), "15000"),
        ("三天后", "cn", date(2026, 11, 27), None),
        ("I'll pay $50 next Friday", "us", date(2026, 12, 4), "50"),
        ("friday, 1,234.50", "us", date(2026, 11, 27), "1234.50"),
        ("£120 on 3/12", "uk", date(2026, 12, 3), "120"),
        ("$120 on 12/3", "us", date(2026, 12, 3), "120"),
        ("2026-12-05 200 dollars", "us", date(2026, 12, 5), "200"),
        ("on the 5th", "us", date(2026, 12, 5), None),
        ("Dec 5, 2k", "us", date(2026, 12, 5), "2000"),
        ("5th of December", "uk", date(2026, 12, 5), None),
        ("tomorrow", "us", date(2026, 11, 25), None),
        ("Jan 30", "us", date(2027, 1, 30), None),
        ("tomorrow or friday", "us", None, None),  # two readings
        ("50 dollars or 60 dollars", "us", None, None),
        ("yesterday 2026-11-20", "us", None, None),
        ("2027-11-20", "us", None, None),  # a plan, and no promise
        ("31 February", "uk", None, None),  # no such day
        ("I will pay soon", "us", None, None),
    ],
)
def test_a_reply_names_a_day_and_an_amount(text: str, jurisdiction: str, day: date | None, amount: str | None) -> None:
    """By the borrower's calendar; with two readings, in the past or too far ahead there is none."""
    found = slots_of(text, TODAY, jurisdiction, shipped_interpreter().safety.normalise.fold)
    assert (found.day, found.amount) == (day, None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("三千五", 3500),
        ("三千零五", 3005),
        ("一万二", 12000),
        ("一万零二", 10002),
        ("两百五", 250),
        ("十二", 12),
        ("二十", 20),
        ("二零二六", 2026),
        ("三万五千", 35000),
        ("一亿", 100_000_000),
        ("五", 5),
        ("", None),
        ("好", None),
    ],
)
def test_chinese_numerals(text: str, number: int | None) -> None:
    """A last digit without its unit stands for the next lower one."""
    assert chinese_number(text) == number


@given(st.text(max_size=80))
def test_any_text_has_slots_or_none(text: str) -> None:
    """Whatever is written, nothing fails, and what is found lies ahead and is more than nothing."""
    found = slots_of(text, TODAY, "tw", shipped_interpreter().safety.normalise.fold)
    assert found.day is None or found.day >= TODAY
    assert found.amount is None or found.amount >= 1
