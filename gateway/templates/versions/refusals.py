"""Refusals of the commands on template versions:

  TemplateRefusal
  ├── NoSuchVersion       there is no such template or version for this tenant
  ├── WrongState          its state does not allow it
  ├── DraftExists         another draft is open; the exception has it
  ├── TemplateExists      another template has the id
  ├── BadPlan             a new template can't be made so; the exception has the field
  ├── BadComment          a comment or an explanation can't be recorded so
  ├── BadTerm             a term of the glossary can't be stored
  ├── GlossaryChanged     another user has saved the glossary since
  ├── EditedMeanwhile     another user has saved the draft since; the exception has the stored text
  ├── SamePerson          a second person has to do it
  ├── AlreadyScheduled    another version is to be published
  ├── NothingToRollBack   nothing was live before
  ├── BadText             the text can't be used; the exception has the findings
  ├── NeedsConfirmation   it would break callers or undo other work; repeat with confirmation
  └── TestSendRefused       a test message can't be sent to this address, or not now

``kind`` is the problem type (gateway/api/http/problems.py), and the key of the page's message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.templates.versions.stored_version import VersionText


class TemplateRefusal(Exception):
    """The message is a sentence for the editor, with the remedy."""

    kind = "wrong_state"


class NoSuchVersion(TemplateRefusal):
    kind = "not_found"


class WrongState(TemplateRefusal):
    kind = "wrong_state"


class DraftExists(TemplateRefusal):
    kind = "draft_exists"

    def __init__(self, current: VersionText) -> None:
        number = current.stored.number
        super().__init__(f"version {number} is an open draft: go on with it, or discard it first")
        self.current = current


class TemplateExists(TemplateRefusal):
    kind = "template_exists"


class BadPlan(TemplateRefusal):
    """``field``: title, purpose, template, locales or channels."""

    kind = "invalid_request"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class BadComment(TemplateRefusal):
    """``field``: comment, channel, words or finding."""

    kind = "invalid_request"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class BadTerm(TemplateRefusal):
    kind = "invalid_request"


class GlossaryChanged(TemplateRefusal):
    kind = "glossary_changed"


class EditedMeanwhile(TemplateRefusal):
    kind = "edited_meanwhile"

    def __init__(self, current: VersionText) -> None:
        super().__init__(
            f"{current.stored.updated_by} has saved it since: take what you need from the present text, "
            f"and save your version on revision {current.stored.revision}"
        )
        self.current = current


class SamePerson(TemplateRefusal):
    kind = "same_person"


class AlreadyScheduled(TemplateRefusal):
    kind = "already_scheduled"


class NothingToRollBack(TemplateRefusal):
    kind = "nothing_to_roll_back"


class BadText(TemplateRefusal):
    """``findings`` are those of gateway.templates.checks.lint."""

    kind = "lint_errors"

    def __init__(self, findings: Sequence[Any]) -> None:
        super().__init__("the text has errors: mend what the findings say")
        self.findings = findings


class NeedsConfirmation(TemplateRefusal):
    """``warnings`` are those of gateway.templates.versions.compatibility."""

    kind = "needs_confirmation"

    def __init__(self, warnings: Sequence[Any]) -> None:
        super().__init__("publishing it would have consequences: read the warnings, and confirm if you want them")
        self.warnings = warnings


class TestSendRefused(TemplateRefusal):
    """``kind``: invalid_request, not_your_address, too_many_tests, no_provider or paused."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
