"""Written languages: in which one a locale is written, and a request's locale in another language.

Chinese is two written languages, by script. Must not know templates or pages.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.core.notifications import Notification

# Where Chinese is written in traditional characters (CLDR, likely subtags).
_TRADITIONAL = frozenset({"TW", "HK", "MO", "HANT"})
_COUNTRIES = {"UK": "GB"}  # in jurisdictions, as ISO 3166 writes it


def written_language(locale: str) -> str:
    """``zh-Hant`` for ``zh-TW`` and ``zh_HK``, ``zh-Hans`` for other Chinese, else the language alone: ``en``."""
    language, *others = locale.replace("_", "-").split("-")
    if language.lower() != "zh":
        return language.lower()
    return "zh-Hant" if _TRADITIONAL.intersection(each.upper() for each in others) else "zh-Hans"


def in_language(notification: Notification, language: str) -> Notification:
    """The notification with a locale of the language that the borrower chose; itself where it has one, or "" is given.

    The country is that of the jurisdiction, so that dates and spelling are those that the borrower knows.
    """
    borrower = notification.borrower
    if not language or written_language(borrower.locale) == language:
        return notification
    country = borrower.jurisdiction.partition("-")[0].upper()
    regional = "-" not in language and len(country) == 2  # a script says more than a country
    locale = f"{language}-{_COUNTRIES.get(country, country)}" if regional else language
    return replace(notification, borrower=replace(borrower, locale=locale))
