"""All pages: texts in both languages, colour contrast, and cacheable assets."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from copy import deepcopy
from importlib import resources
from pathlib import Path
from string import Formatter

import aiohttp
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from gateway.core.reasons import PolicyReason
from gateway.templates.checks.word_lists import load_words
from gateway.templates.language.source_positions import SourcePosition
from gateway.templates.translatable import joined, translatable
from gateway.web import translations
from gateway.web.page import Pages
from tests.support.api_gateway import serving

ROOT = Path(__file__).parents[3]
CATALOG, LINT = ROOT / "gateway" / "templates", ROOT / "templates" / "_lint"
WEB = resources.files("gateway.web")
TEXT, CONTROL = 4.5, 3.0  # WCAG 2.2, success criteria 1.4.3 and 1.4.11

# What is written or drawn on what: (foreground, background, least contrast).
PAIRS = [
    *((front, back, TEXT) for front in ("text", "muted", "accent") for back in ("ground", "surface", "sunken")),
    *((front, "surface", TEXT) for front in ("good", "warn", "bad")),
    *((word, f"{word}-soft", TEXT) for word in ("good", "warn", "bad", "accent")),
    *(("text", f"{word}-soft", TEXT) for word in ("good", "warn", "bad", "accent")),
    ("on-accent", "accent", TEXT),
    ("edge", "surface", CONTROL),
    ("accent", "ground", CONTROL),
]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def tokens() -> dict[str, dict[str, str]]:
    """The colours of base.css: the light ones, and the dark ones."""
    css = WEB.joinpath("assets/base.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {
        name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))
        for name, text in (("light", light), ("dark", dark))
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_pair_of_colours_can_be_read(scheme: str) -> None:
    """WCAG AA: 4.5 for text, 3 for the edge of a control, in light and in dark."""
    colours = tokens()[scheme]
    too_weak = []
    for front, back, least in PAIRS:
        bright, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        ratio = (bright + 0.05) / (dark + 0.05)
        if ratio < least:
            too_weak.append(f"{front} on {back}: {ratio:.2f} < {least}")
    assert not too_weak


def test_both_languages_have_the_same_words_with_the_same_gaps() -> None:
    """A key that one of them lacks, or a value that one of them drops, would show to half of the readers only."""
    texts = translations.load({})
    gaps = {
        name: {
            key: sorted({field for _, field, _, _ in Formatter().parse(text) if field})
            for key, text in each.texts.items()
        }
        for name, each in texts.items()
    }
    assert gaps["en"] == gaps["zh"]
    assert set(texts) == set(translations.LANGUAGES)


def _calls(*names: str) -> Iterator[ast.Call]:
    """Where the catalogue calls a function of one of these names."""
    for path in sorted(CATALOG.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield node


def _texts(nodes: Iterable[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


ENTRIES = {id(each): each for words in load_words(LINT).values() for each in words.entries}.values()


def test_every_sentence_of_the_catalogue_has_its_words_in_every_language() -> None:
    """What the lint, the language and the differences say, and why a word is listed: with the same gaps."""
    sentences = _texts(call.args[0] for call in _calls("translatable"))
    sentences |= {sentence for each in ENTRIES for sentence in (each.why, each.remedy)}
    assert len(sentences) > 150
    for name, texts in translations.load({}).items():
        if name == "en":
            assert texts.sentences == {}
            continue
        assert sorted(texts.sentences) == sorted(sentences), name
        for english, words in texts.sentences.items():
            assert sorted(re.findall(r"\{(\w+)\}", english)) == sorted(re.findall(r"\{(\w+)\}", words)), english


# Where a sentence stands among a call's arguments.
SENTENCES = {
    "LintFinding": (4, 5),
    "finding_at": (4, 5),
    "Issue": (3, 4),
    "TemplateProblem": (3,),
    "VariableProblem": (1,),
}
SENTENCES |= {"SourceError": (0,), "RenderFailed": (0,)}


def test_no_sentence_is_put_together_out_of_sight() -> None:
    """A finding, a fault or a mistake is always a sentence that a page can say in another language."""
    plain = [
        ast.unparse(call)
        for name, places in SENTENCES.items()
        for call in _calls(name)
        if any(isinstance(call.args[each], ast.JoinedStr | ast.Constant) for each in places if each < len(call.args))
    ]
    assert plain == []


def test_every_rule_has_its_name_in_every_language() -> None:
    """The lint's own rules, those of the word lists, and the reasons for which the policy refuses a text."""
    rules = _texts(call.args[1] for call in _calls("LintFinding", "Issue", "finding_at"))
    rules |= {each.kind for each in ENTRIES} | {"opt_out_text_missing", "opt_out_text_forbidden"}
    assert len(rules) > 30
    for texts in translations.load({}).values():
        assert {f"rule_{each}" for each in rules} <= set(texts.texts)


def test_every_reason_has_its_words_in_every_language() -> None:
    """The status page names each decision and each reason of the policy in the reader's language."""
    for texts in translations.load({}).values():
        assert {f"reason_{each}" for each in PolicyReason} <= set(texts.texts)
        assert {f"ops_verdict_{each}" for each in ("send", "defer", "suppress", "review")} <= set(texts.texts)


def test_a_sentence_is_said_in_the_readers_language_with_those_inside_it() -> None:
    """Numbers and names stay; a sentence within a sentence is said as well; what comes from elsewhere stays."""
    inner = translatable("the attribute {name} is not allowed here", name="'onclick'")
    outer = SourcePosition(3, 1, "help:1:2").sentence(inner)
    assert outer == "the attribute 'onclick' is not allowed here (in the shared text help:1:2)"
    texts = translations.load({})
    assert texts["en"].translate(outer) == outer
    assert texts["zh"].translate(outer) == "此处不允许属性 'onclick'（公共文本 help:1:2）"
    assert texts["zh"].translate(joined([inner, "by a library"])) == "此处不允许属性 'onclick'; by a library"
    assert texts["zh"].translate("by a library: {odd}") == "by a library: {odd}"
    assert json.dumps(deepcopy(outer)) == json.dumps(str(outer))
    assert texts["zh"].translate(deepcopy(outer)) == texts["zh"].translate(outer)  # as dataclasses.asdict copies it


def test_every_word_that_a_page_asks_for_is_there() -> None:
    """A page that lacks one of its words does not come up at all."""
    known = translations.load({})["en"].texts
    for page in WEB.joinpath("pages").iterdir():
        text = page.read_text("utf-8")
        missing = [key for key in re.findall(r"\bt\('([a-z_]+)'[,)]", text) if key not in known]
        missing += [
            stem
            for stem in re.findall(r"\bt(?:\.maybe)?\('([a-z_]+_)' ~", text)
            if not any(each.startswith(stem) for each in known)
        ]
        assert not missing, page.name


@pytest.mark.parametrize(
    ("cookie", "accepted", "expected"),
    [
        ("", "", "en"),
        ("", "zh-TW,zh;q=0.9,en;q=0.8", "zh"),
        ("", "fr, de;q=0.9", "en"),
        ("", "en;q=0.5, zh;q=0.9", "zh"),
        ("", "zh;q=0, en", "en"),
        ("", "zh;q=nonsense, en", "en"),
        ("en", "zh", "en"),
        ("klingon", "zh", "zh"),
    ],
)
def test_the_reader_gets_their_language(cookie: str, accepted: str, expected: str) -> None:
    """Their own choice first, then what the browser asks for, then English."""
    assert translations.choose(cookie, accepted) == expected


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A browser before an application that has nothing but the assets and a page that extends the base."""
    app, pages = FastAPI(), Pages({})
    app.include_router(pages.router())

    @app.get("/page")
    async def page(request: Request) -> Response:
        return pages.respond(request, "base.html", {})

    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


async def test_a_page_runs_no_script_and_no_style_of_its_own(client: aiohttp.ClientSession) -> None:
    """Its policy names our own address only, and it can't be framed."""
    async with client.get("/page") as answer:
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"


def test_no_page_has_script_or_style_inline() -> None:
    """The policy would block it without a word."""
    for page in WEB.joinpath("pages").iterdir():
        text = page.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", text), page.name


async def test_assets_are_kept_for_a_year_under_the_hash_of_their_content(client: aiohttp.ClientSession) -> None:
    """Another content has another address, so nobody sees an old style on a new page."""
    address = Pages({}).asset("base.css")
    async with client.get(address) as found:
        assert "immutable" in found.headers["cache-control"]
    for wrong in ("/assets/0000000000000000/base.css", address.replace("base.css", "nothing.css")):
        async with client.get(wrong) as found:
            assert found.status == 404


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("//evil.example", "/editor"),
        ("/\\evil.example", "/editor"),
        ("https://evil.example", "/editor"),
        ("/ok\nx", "/editor"),
        ("", "/editor"),
        ("/editor?x=1", "/editor?x=1"),
    ],
)
async def test_choosing_a_language_leads_nowhere_else(client: aiohttp.ClientSession, back: str, expected: str) -> None:
    """The way back is a path of ours, or the start."""
    async with client.get("/language/zh", params={"back": back}, allow_redirects=False) as answer:
        assert answer.headers["location"] == expected
        assert answer.cookies[translations.COOKIE].value == "zh"
