"""Who permitted debt collection on a provider whose rules forbid it, and when.

Some providers' rules list debt collection as prohibited whatever the licence. There, service messages alone are sent
until a tenant's counsel has decided otherwise; the decision is recorded in the provider's options.
"""

from __future__ import annotations

from datetime import date

from channels.options import ProviderOptions

SIGN_OFF_OPTIONS = frozenset({"collections_approved_by", "collections_approved_on"})


def permitted_categories(provider: str, options: ProviderOptions) -> frozenset[str]:
    """``service``, and ``collections`` where counsel has signed it off: a name, and a date as YYYY-MM-DD.

    Raises ValueError where one of the two is missing, or the date is none.
    """
    counsel, day = options.text("collections_approved_by", ""), options.text("collections_approved_on", "")
    if not counsel and not day:
        return frozenset({"service"})
    if not counsel or not day:
        missing = "collections_approved_on" if counsel else "collections_approved_by"
        raise ValueError(f"provider {provider}: option {missing} is missing: a sign-off has a person and a date")
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f"provider {provider}: option collections_approved_on must be a date (YYYY-MM-DD)") from None
    return frozenset({"service", "collections"})
