"""The lender's file about borrowers' own pages: whose free help they name, and what can't be switched off there.

``borrower_pages.toml`` in the folder of the templates. Must not know the pages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from gateway.templates.language.version import jurisdiction_of

FILE = "borrower_pages.toml"
OTHER = "other"  # countries that the file does not list
_MOST = 20  # helpers of a country; our choice, more than anybody reads


class Helper(BaseModel):
    """Somebody who helps free of charge. ``in_replies`` is how automatic replies name them; "": they don't.

    ``what`` is by written language; English is the one that is always there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=120)
    url: HttpUrl
    phone: str = Field("", max_length=40)
    in_replies: str = Field("", max_length=80, pattern="^[^{}]*$")
    what: Mapping[str, str]
    source: str = Field(min_length=1, max_length=200)
    seen: Literal["official_text", "secondary", "not_seen"]

    def words(self, language: str) -> str:
        return self.what.get(language) or self.what["en"]


class _Preferences(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fixed_channels: Sequence[str] = ()


class BorrowerPagesFile(BaseModel):
    """The file. ``help`` is by country, as policy packs name it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preferences: _Preferences = _Preferences()
    help: Mapping[str, Sequence[Helper]] = Field(default_factory=dict)

    def helpers(self, jurisdiction: str) -> Sequence[Helper]:
        """Those for a borrower of this jurisdiction (``us-fl``)."""
        return self.help.get(jurisdiction_of(jurisdiction)) or self.help.get(OTHER, ())

    def named_in_replies(self, jurisdiction: str) -> str:
        """Those who are named in automatic replies to a borrower of this jurisdiction; "" for none."""
        return ", ".join(each.in_replies for each in self.helpers(jurisdiction) if each.in_replies)


def read_borrower_pages(folder: Path, otherwise: Path, reveals_debt: Callable[[str], bool]) -> BorrowerPagesFile:
    """The file of ``folder``, or where it has none that of ``otherwise``. Raises ValueError with what is wrong.

    ``reveals_debt`` is of a text that somebody may read who is not known yet.
    """
    path = folder / FILE if (folder / FILE).exists() else otherwise / FILE
    try:
        found = BorrowerPagesFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    for country, helpers in found.help.items():
        if len(helpers) > _MOST or not all("en" in each.what for each in helpers):
            raise ValueError(f"{path.name}: help.{country}: at most {_MOST}, each with what.en")
        for each in helpers:
            if reveals_debt(each.in_replies):
                what = "has a word that says that there is a debt; leave in_replies out"
                raise ValueError(f"{path.name}: help.{country}: {each.in_replies} {what}")
    return found
