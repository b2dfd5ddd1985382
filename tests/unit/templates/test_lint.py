"""The lint: built-in templates have no findings, and each problem is found at its position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.templates import Lender
from gateway.templates.checks.lint import LintFinding, findings_of, lint, load_words
from gateway.templates.folder import Folder
from gateway.templates.language.source import BadTemplate
from gateway.templates.language.version import TemplateVersion
from gateway.templates.rendering.email_checks import contrast
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.source_form import in_source_form

TEMPLATES = Path(__file__).parents[3] / "templates"
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
WORDS = load_words(TEMPLATES / "_lint")
SOURCES = Folder.read(TEMPLATES).sources()


def _lint(part: str, text: str, *, refuses: str = "", locale: str = "en-US") -> list[LintFinding]:
    """The findings about ``overdue-first`` with one part replaced."""
    source = SOURCES["overdue-first"]
    if part in ("email.mjml.liquid", "email.txt.liquid"):
        source = in_source_form(source, locale)
    changed = replace(source, parts={**source.parts, f"{locale}/{part}": text})
    try:
        found = lint(TemplateVersion(changed, LENDER, PROFILES), WORDS, LENDER.name, lambda *_: refuses)
    except BadTemplate as error:
        found = findings_of(error)
    return [each for each in found if each.where.startswith(f"overdue-first/{locale}")]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_ships_is_clean(name: str) -> None:
    """No shipped template has an error or a warning, in any locale and jurisdiction."""
    version = TemplateVersion(SOURCES[name], LENDER, PROFILES)
    found = lint(version, WORDS, LENDER.name, lambda *_: "")
    assert [each for each in found if each.level != "hint"] == []


@pytest.mark.parametrize("example", ["--5", "²", "٣", "9" * 5_000])
def test_an_integers_example_that_is_none_is_a_finding(example: str) -> None:
    """Digits of another script, two signs or a number without end ended the lint."""
    source = SOURCES["plan-offer"]
    variables = {**source.settings["variables"]}
    variables["instalments"] = {**variables["instalments"], "example": example}
    changed = replace(source, settings={**source.settings, "variables": variables})
    found = lint(TemplateVersion(changed, LENDER, PROFILES), WORDS, LENDER.name, lambda *_: "")
    assert "the example of instalments must be a whole number" in [each.detail for each in found]


@pytest.mark.parametrize("locale", ["xx-YY", "e", "en_GB", "en-GB-x-a"])
def test_a_folder_that_names_no_language_is_a_finding(locale: str) -> None:
    """Also one that is written like a language code and is none; it was answered by 500."""
    assert "is not a language code; write it like en-GB" in [
        each.detail for each in _lint("sms.liquid", SMS, locale=locale)
    ]


def test_the_command_asks_the_policy_too() -> None:
    """``gateway template lint`` finds no error in what ships, under the packs of each locale's country."""
    done = CliRunner().invoke(app, ["template", "lint"])
    assert (done.exit_code, "0 errors, 0 warnings," in done.output) == (0, True)


SMS = "{{ lender.name }}: pay {{ amount | money: currency }}. Reply STOP. "


def mail(body: str, head: str = "<mj-preview>x</mj-preview>") -> str:
    """A mail around a column's elements."""
    column = f"<mj-section><mj-column>{body}</mj-column></mj-section>"
    return f"<mjml>\n<mj-head>{head}</mj-head>\n<mj-body>\n{column}\n</mj-body>\n</mjml>"


@pytest.mark.parametrize(
    ("part", "text", "rule", "level"),
    [
        ("sms.liquid", SMS + "The police will call.", "threat", "error"),
        ("sms.liquid", SMS + "We filed a lawsuit.", "legal", "error"),
        ("sms.liquid", SMS + "Legal\naction will follow.", "legal", "error"),
        ("sms.liquid", SMS + "{% if pay_url %}{% else %}The police.{% endif %}", "threat", "error"),
        ("sms.liquid", SMS + "You should be ashamed.", "shame", "error"),
        ("sms.liquid", SMS + "Pay immediately.", "pressure", "warning"),
        ("sms.liquid", SMS + "This is an official summons.", "false_authority", "error"),
        ("sms.liquid", SMS + "And a special offer.", "promotion", "warning"),
        ("sms.liquid", "Pay {{ amount | money: currency }}.", "no_identity", "error"),
        ("sms.liquid", SMS + "http://example.com/pay", "plain_link", "error"),
        ("sms.liquid", SMS + "https://bit.ly/x", "short_link", "error"),
        ("sms.liquid", SMS + "https://192.0.2.1/pay", "odd_link", "error"),
        ("sms.liquid", SMS + "https://bank@example.com/pay", "odd_link", "error"),
        ("sms.liquid", SMS + "Call 0900 123 4567.", "dear_number", "error"),
        ("sms.liquid", SMS + "x" * 460, "long", "warning"),
        ("sms.liquid", SMS + "It’s due.", "dear_character", "warning"),
        ("sms.liquid", SMS + "😀", "dear_character", "warning"),
        ("sms.liquid", SMS + "{amount}", "leftover_braces", "error"),
        ("sms.liquid", SMS + "{{ borrower.name }}", "personal_data", "warning"),
        ("sms.liquid", SMS + "{{ due_date }}", "unformatted", "warning"),
        ("sms.liquid", "{{ lender.name }} STOP {{ nothing }}", "does_not_compile", "error"),
        ("sms.liquid", "{{ lender.name }} STOP {{ amount | monney }}", "does_not_compile", "error"),
        ("email.subject.liquid", "Your overdue payment", "lock_screen", "error"),
        ("email.subject.liquid", "{{ borrower.name }}, hello", "personal_data", "error"),
        ("email.subject.liquid", "{{ amount | money: currency }}", "personal_data", "error"),
        ("inapp.title.liquid", "You owe money", "lock_screen", "error"),
        ("email.subject.liquid", "A note " + "about your account " * 5, "long_subject", "warning"),
        ("email.mjml.liquid", mail("<mj-image src='https://example.com/a.png' />"), "no_alt_text", "error"),
        ("email.mjml.liquid", mail("<mj-text color='#999'>x</mj-text>"), "contrast", "error"),
        ("email.mjml.liquid", mail("<mj-button background-color='#eee'>x</mj-button>"), "contrast", "error"),
        (
            "email.mjml.liquid",
            mail("x", "<mj-style>p { color: #999999; background: #fff }</mj-style>").replace("x<", "<"),
            "contrast",
            "error",
        ),
        ("email.mjml.liquid", mail("<mj-text>x</mj-text>", ""), "no_preview", "warning"),
        ("email.mjml.liquid", mail("<mj-text>x</mj-text>", ""), "parts_differ", "warning"),
        ("email.mjml.liquid", mail("", "<mj-preview>Your debt</mj-preview>"), "lock_screen", "error"),
        (
            "email.mjml.liquid",
            mail("", "<mj-preview>You: {{ amount | money: currency }}</mj-preview>"),
            "personal_data",
            "error",
        ),
        (
            "email.mjml.liquid",
            mail("<mj-text><a href='https://a.example'>click here</a></mj-text>"),
            "vague_link",
            "warning",
        ),
        (
            "email.mjml.liquid",
            mail("<mj-text><a href='https://a.example'>https://b.example</a></mj-text>"),
            "misleading_link",
            "error",
        ),
        (
            "email.mjml.liquid",
            mail("<mj-text><a href='https://a.example/{{ borrower.name }}'>Your page</a></mj-text>"),
            "personal_link",
            "error",
        ),
    ],
)
def test_each_fault_is_found(part: str, text: str, rule: str, level: str) -> None:
    """A finding of the right kind and level, in the right part, with a remedy."""
    found = [each for each in _lint(part, text) if each.rule == rule]
    assert {(each.level, bool(each.remedy)) for each in found} == {(level, True)}
    assert rule in ("no_identity", "parts_differ") or found[0].where.endswith(part)


@pytest.mark.parametrize(
    ("part", "text", "rule", "place"),
    [
        ("sms.liquid", SMS + "\nSecond line.\n The police.", "threat", (3, 6)),
        ("sms.liquid", SMS + "\n{% if pay_url %}\n  {{ nothing }}{% endif %}", "does_not_compile", (3, 6)),
        ("sms.liquid", SMS + "\nIt’s", "dear_character", (2, 3)),
        ("email.mjml.liquid", mail("<mj-text>The police.</mj-text>"), "threat", (4, 37)),
        ("email.mjml.liquid", mail("<mj-text color='#999'>x</mj-text>"), "contrast", (4, 24)),
        ("email.mjml.liquid", mail("<mj-text><script>x</script></mj-text>"), "does_not_compile", (4, 33)),
    ],
)
def test_a_finding_has_its_place(part: str, text: str, rule: str, place: tuple[int, int]) -> None:
    """The editor is led to the line and the column."""
    [found] = {(each.line, each.column) for each in _lint(part, text) if each.rule == rule}
    assert found == place


def test_a_fault_in_a_shared_text_is_shown_where_it_is_taken_in() -> None:
    """The editor of a template sees the tag in their own text, and which shared text to mend."""
    source = SOURCES["overdue-first"]
    fragments = {**source.fragments, "en-US/help-short.liquid": "Help.\nThe police will help."}
    found = lint(
        TemplateVersion(replace(source, fragments=fragments), LENDER, PROFILES), WORDS, LENDER.name, lambda *_: ""
    )
    [threat] = [each for each in found if each.rule == "threat" and each.where.endswith("en-US/sms.liquid")]
    text = source.parts["en-US/sms.liquid"]
    assert (threat.line, threat.column) == (1, text.index("{% render 'help-short'") + 1)
    assert "in the shared text help-short:2:5" in threat.detail


def test_kinder_words_come_ready_to_be_put_in() -> None:
    """Where there is a kinder way, the finding has it by itself."""
    [found] = [each for each in _lint("sms.liquid", SMS + "Legal action.") if each.rule == "legal"]
    assert found.instead == "further steps"


def test_what_nobody_uses_is_said_once() -> None:
    """A variable that callers have to give for nothing."""
    source = SOURCES["overdue-first"]
    more = {**source.settings["variables"], "branch": {"type": "text", "example": "x", "description": "x"}}
    version = TemplateVersion(replace(source, settings={**source.settings, "variables": more}), LENDER, PROFILES)
    found = [each for each in lint(version, WORDS, LENDER.name, lambda *_: "") if each.rule == "unused_variable"]
    assert [(each.level, "branch" in each.detail) for each in found] == [("hint", True)]


def test_an_example_that_does_not_fit_is_an_error() -> None:
    """The example is what everything else is tried with."""
    source = SOURCES["overdue-first"]
    wrong = {**source.settings["variables"]["amount"], "example": "a lot"}
    settings = {**source.settings, "variables": {**source.settings["variables"], "amount": wrong}}
    found = lint(
        TemplateVersion(replace(source, settings=settings), LENDER, PROFILES), WORDS, LENDER.name, lambda *_: ""
    )
    assert "bad_example" in {each.rule for each in found if each.level == "error"}


def test_what_may_be_missing_is_tried_without_it() -> None:
    """An optional amount outside its condition is found, though the examples have it."""
    source = SOURCES["payment-received"]
    text = "{{ lender.name }}: {{ remaining | money: currency }}"
    version = TemplateVersion(replace(source, parts={**source.parts, "en-US/sms.liquid": text}), LENDER, PROFILES)
    found = [each for each in lint(version, WORDS, LENDER.name, lambda *_: "") if each.rule == "does_not_render"]
    assert [each.where for each in found] == ["payment-received/en-US/sms.liquid"]


def test_harmless_words_that_contain_harmful_ones_are_left_alone() -> None:
    """Whole words only: who arrives is not arrested, and Debtford is a place."""
    assert [each.rule for each in _lint("sms.liquid", SMS + "Policemen's Ball in Prisonville, insurgently.")] == []


def test_chinese_words_are_found_without_spaces() -> None:
    """Scripts without spaces are searched anywhere."""
    text = "{{ lender.name }}：我們將起訴並上門。"
    rules = sorted(each.rule for each in _lint("sms.liquid", text, locale="zh-TW"))
    assert rules == ["legal", "threat"]


@pytest.mark.parametrize(
    ("language", "text", "kind"),
    [
        ("hi", "पुलिस आएगी। मुकदमा होगा।", "legal"),
        ("es", "Llamaremos a la policía.", "threat"),
        ("es", "Último aviso", "pressure"),
        ("zh", "我们将上门", "threat"),
    ],
)
def test_every_listed_language_is_read(language: str, text: str, kind: str) -> None:
    """Words are found in each script, whether or not it parts them by spaces or ends them in signs."""
    assert kind in {each.kind for each in WORDS[language].entries if each.pattern.search(text)}


def test_what_the_policy_refuses_is_an_error() -> None:
    """A text that would be suppressed when it is sent can't be published."""
    found = _lint("sms.liquid", SMS, refuses="opt_out_text_missing")
    assert {each.rule for each in found if each.level == "error"} == {"opt_out_text_missing"}


def test_contrast_as_wcag_counts_it() -> None:
    """Black on white is 21, a colour on itself 1, and #767676 on white just passes."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_a_broken_word_list_is_named(tmp_path: Path) -> None:
    """Whoever edits the lists is told which file is wrong, and what is missing."""
    (tmp_path / "xx.toml").write_text('languages = ["xx"]\n')
    with pytest.raises(ValueError, match=r"xx\.toml.*words"):
        load_words(tmp_path)


def test_a_finding_cites_the_law_of_the_locale_s_borrowers() -> None:
    """A British text cites no American law; what isn't an error in another country is not said at all."""
    threat = SMS + "{% render 'opt-out-sms' %} We will sue you."
    cited = {}
    for locale in ("en-US", "en-GB"):
        [found] = [each for each in _lint("sms.liquid", threat, locale=locale) if each.rule == "legal"]
        cited[locale] = ("CFR" in found.detail, "CONC" in found.detail)
    assert cited == {"en-US": (True, False), "en-GB": (False, True)}
    calls: list[str] = []

    def refuses(place: str, *_: str) -> str:
        calls.append(place)
        return ""

    long = SMS + "word " * 80 + "{% render 'help' %}"
    source = SOURCES["overdue-first"]
    version = TemplateVersion(replace(source, parts={**source.parts, "en-GB/sms.liquid": long}), LENDER, PROFILES)
    found_here = [
        each for each in lint(version, WORDS, LENDER.name, refuses) if each.where.endswith("en-GB/sms.liquid")
    ]
    assert {"en-UK", "en-US", "en-CN"} <= set(calls)  # each is rendered, since an error there is one
    assert len([each for each in found_here if each.rule == "long"]) == 1
