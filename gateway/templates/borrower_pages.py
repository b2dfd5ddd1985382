"""The lender's file about borrowers' own pages: whose free help they name, and what can't be switched off there.

``borrower_pages.toml`` in the folder of the templates. Must not know the pages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from gateway.templates.language.version import jurisdiction_of

FILE = "borrower_pages.toml"
OTHER = "other"  # countries that the file does not list
_MOST = 20  # helpers of a country; our choice, more than anybody reads


class Helper(BaseModel):
    """Somebody who helps free of charge. ``what`` is by written language; English is the one that is always there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=120)
    url: HttpUrl
    phone: str = Field("", max_length=40)
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


def read_borrower_pages(folder: Path, otherwise: Path) -> BorrowerPagesFile:
    """The file of ``folder``, or where it has none that of ``otherwise``. Raises ValueError with what is wrong."""
    path = folder / FILE if (folder / FILE).exists() else otherwise / FILE
    try:
        found = BorrowerPagesFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    for country, helpers in found.help.items():
        if len(helpers) > _MOST or not all("en" in each.what for each in helpers):
            raise ValueError(f"{path.name}: help.{country}: at most {_MOST}, each with what.en")
    return found
