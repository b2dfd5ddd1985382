"""What can still be checked of a notification whose shape is wrong, so that one answer lists all its errors.

Members that are wrong are replaced by those of the documented example; what the checks then say about these, or about
what depends on them, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from gateway.api.requests.notifications import EXAMPLE, BorrowerIn, NotificationIn
from gateway.core.requests import FieldError, NotificationRequest

# Errors below these pointers say nothing where the member at the left was replaced.
_DEPENDENT: Mapping[str, Sequence[str]] = {"/template": ("/variables", "/route", "/category")}


def further_errors(
    raw: Any, known: Iterable[FieldError], check: Callable[[NotificationRequest], Sequence[FieldError]]
) -> list[FieldError]:
    """The errors that ``check`` finds in the members of ``raw`` at which ``known`` does not point."""
    pointers = [each.pointer for each in known]
    if not isinstance(raw, dict) or "" in pointers or raw.keys().isdisjoint(NotificationIn.model_fields):
        return []  # nothing of it is left to be checked
    body, replaced = _repaired(raw, pointers)
    try:
        request = NotificationIn.model_validate(body).incoming("", body)
    except ValidationError:  # the errors that are known were not all
        return []
    silent = [*replaced, *(each for pointer in replaced for each in _DEPENDENT.get(pointer, ()))]
    return [each for each in check(request) if not any(_below(each.pointer, pointer) for pointer in silent)]


def _repaired(raw: Mapping[str, Any], pointers: Iterable[str]) -> tuple[dict[str, Any], set[str]]:
    """The body with stand-ins for what is wrong, and the pointers to these."""
    body, replaced = {name: raw[name] for name in NotificationIn.model_fields if name in raw}, set()
    if isinstance(body.get("borrower"), dict):
        borrower = body["borrower"] = {
            name: body["borrower"][name] for name in BorrowerIn.model_fields if name in body["borrower"]
        }
    else:
        borrower = {}
    for pointer in pointers:
        first, *rest = pointer.removeprefix("/").split("/")
        inner = first == "borrower" and rest and borrower
        holder, name, example = (borrower, rest[0], EXAMPLE["borrower"]) if inner else (body, first, EXAMPLE)
        replaced.add(f"/borrower/{name}" if inner else f"/{name}")
        holder.pop(name, None)
        if name in example:
            holder[name] = example[name]
    if "/route" in replaced and borrower and "/borrower/addresses" not in replaced:
        body["route"] = list(borrower["addresses"])[:1] or EXAMPLE["route"]
    return body, replaced


def _below(pointer: str, above: str) -> bool:
    return pointer == above or pointer.startswith(f"{above}/")
