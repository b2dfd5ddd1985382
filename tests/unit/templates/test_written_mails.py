"""E-mails written in Markdown: what borrowers read of them, and where their mistakes are found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.content import Content
from gateway.templates import Lender, TemplateVersion
from gateway.templates.checks.lint import LintFinding, lint, load_words
from gateway.templates.folder import Folder
from gateway.templates.language.source import BadTemplate, TemplateProblem, TemplateSource
from gateway.templates.previews.preview import Sample, examples, rendered
from gateway.templates.workflow.forms_of_mail import NotConvertible, other_form, to_markdown
from tests.support.providers.channel_profiles import PROFILES
from tests.support.templates.source_form import in_source_form

ROOT = Path(__file__).parents[3] / "templates"
FOLDER = Folder.read(ROOT)
SHIPPED = FOLDER.sources()["overdue-first"]
LENDER = Lender("Example Bank", "+1 202 555 0100", "https://example.com/help")
WORDS = load_words(ROOT / "_lint")
MAIL = PROFILES["email"]


def _source(markdown: str, **files: str) -> TemplateSource:
    """``overdue-first`` in English, its e-mail replaced by a text. ``files``: other parts of the e-mail."""
    parts = {"en-US/email.subject.liquid": "Hello", "en-US/email.preview.liquid": "A line.", **files}
    return replace(SHIPPED, parts={**parts, "en-US/email.md.liquid": markdown})


def _version(markdown: str, **files: str) -> TemplateVersion:
    return TemplateVersion(_source(markdown, **files), LENDER, PROFILES)


def _read(markdown: str, name: str = "Ann", **variables: str) -> Content:
    version = _version(markdown)
    given_values = {**examples(version), "pay_url": None, **variables}
    return rendered(version, "email", Sample("en-US", given_values, name))


def _found(markdown: str) -> Sequence[LintFinding]:
    return lint(_version(markdown), WORDS, LENDER.name, lambda *_: "")


def _problem(markdown: str) -> tuple[int, int, str]:
    with pytest.raises(BadTemplate) as error:
        _version(markdown)
    [first, *_] = error.value.problems
    assert first.where == "overdue-first/en-US/email.md.liquid"
    return first.line, first.column, first.detail


@pytest.mark.parametrize(
    ("markdown", "html", "text"),
    [
        ("# Your *plan*", "<h1>Your <i>plan</i></h1>", "Your plan"),
        ("one\ntwo", "one<br>two", "one\ntwo"),
        ("- a\n- **b**", "<ul><li>a</li><li><b>b</b></li></ul>", "- a\n- b"),
        ("2. a\n3. b\n   - c", "<li>b<ul><li>c</li></ul></li>", "2. a\n3. b\n   - c"),
        ("[our site](https://example.com/a?b=c&d=e)", "our site</a>", "our site (https://example.com/a?b=c&d=e)"),
        ("[+1 202 555 0100](tel:+12025550100)", 'href="tel:+12025550100"', "+1 202 555 0100 (+12025550100)"),
        ("<https://example.com>", 'href="https://example.com"', "https://example.com"),
        ("[[Pay now]](https://example.com/pay)", "Pay now", "Pay now: https://example.com/pay"),
        ("[[繳款]](https://example.com/pay)", "繳款", "繳款：https://example.com/pay"),
        ("> Please **note**.", "<p>Please <b>note</b>.</p>", "Please note."),
        ("A & B \\*c\\* &copy; 2 \\< 3", "A &amp; B *c* © 2 &lt; 3", "A & B *c* © 2 < 3"),
        (
            "|What|Amount|\n|--|--:|\n|Fee|{{ amount \\| money: currency }}|".replace("\\|", "|"),
            'align="right"',
            "Fee: ",
        ),
        ("|Day|Paid|Open|\n|-|-|-|\n|1 May|5|7|", "<td", "1 May: Paid 5, Open 7"),
        ("a\n\n---\n\nb", ">b</div>", "a\n\n----\n\nb"),
        ("{% comment %}\n# note\n{% endcomment %}\n\nHello", "Hello", "Hello"),
    ],
)
def test_one_text_makes_both(markdown: str, html: str, text: str) -> None:
    """Headings, emphasis, lists, links, buttons, tables and call-outs are in the HTML and in the plain text."""
    made = _read(markdown)
    assert text in made.text
    assert html in re.sub(r' style="[^"]*"', "", made.html)


@pytest.mark.parametrize(
    "markdown",
    [
        "Hello\n\n{% if pay_url %}[[Pay]]({{ pay_url }}){% endif %}\n\nBye",
        "Hello\n\n{% if pay_url %}\n- Pay\n- soon\n{% endif %}\n\nBye",
        "Hello\n\n{% if pay_url %}Pay.\n\nPay soon.{% endif %}\n\nBye",
        "Hello\n\n{% if pay_url %}\n\n> Pay\n\n{% else %}\n{% endif %}\nBye",
    ],
)
def test_a_condition_may_stand_around_anything(markdown: str) -> None:
    """What a condition leaves out leaves nothing behind, neither an empty paragraph nor a gap."""
    without, whole = _read(markdown), _read(markdown, pay_url="https://example.com/pay")
    assert without.text == "Hello\n\nBye"
    assert "Pay" not in without.html
    assert "Pay" in whole.text
    assert "Pay" in whole.html
    assert without.html.count("font-size:16px") == _read("Hello\n\nBye").html.count("font-size:16px")


@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60))
def test_a_value_is_never_markup(name: str) -> None:
    """A borrower's name that looks like Markdown, HTML or Liquid is the text that it is, in both forms."""
    plain, made = _read(_GREETING, "x"), _read(_GREETING, name)
    assert made.text == f"Dear {name}, our site (https://example.com)\n\n- {name}".strip()
    assert name in unescape(made.html)
    assert made.html.count("<") == plain.html.count("<")


_GREETING = "**Dear {{ borrower.name }}**, [our site](https://example.com)\n\n- {{ borrower.name }}"


@pytest.mark.parametrize("name", ["[x](http://evil.example)", "**b**", "# h", "<script>x</script>", "{{ amount }}"])
def test_a_name_stays_a_name(name: str) -> None:
    """The plain text has it as it is; the HTML has no link of its own for it."""
    made = _read("Dear {{ borrower.name }}", name)
    assert made.text == f"Dear {name}"
    assert "evil.example)" in made.html or "evil" not in name
    assert 'href="http://evil' not in made.html


@pytest.mark.parametrize(
    ("markdown", "line", "column", "says"),
    [
        ("a\n\nb <script>x</script>", 3, 3, "HTML is not read here"),
        ("a {{ nope }}", 1, 6, "unknown variable"),
        ("a\n\n[b](http://example.com)", 3, 5, "a link must start with"),
        ("a [b](javascript:alert)", 1, 7, "a link must start with"),
        ("a [b]({{ borrower.name }})", 1, 7, "is not a web address"),
        ("a **b", 1, 3, "the reader will see '**'"),
        ("x\n\n#### a", 3, 1, "at most three"),
        ("![a](https://example.com/a.png)", 1, 1, "a picture needs the layout"),
        ("{% render 'nope' %}", 1, 1, "unknown shared text"),
        ("a\n{% if pay_url %}b", 2, 1, "is not closed"),
        ("a **b {% if pay_url %}c** d{% endif %}", 1, 7, ""),
    ],
)
def test_a_mistake_has_its_place(markdown: str, line: int, column: int, says: str) -> None:
    """What can't be compiled is named with line and column of the Markdown."""
    found = _problem(markdown)
    assert says in found[2]
    assert found[0] == line
    assert not says or abs(found[1] - column) <= 3


@pytest.mark.parametrize(
    ("markdown", "rule"),
    [
        ("Hi\n\n[https://example.com](https://evil.example)", "misleading_link"),
        ("Hi\n\n[example.com](https://evil.example)", "misleading_link"),
        ("Hi\n\n[example.com]({{ pay_url }})", "misleading_link"),
        ("Hi\n\n[a@example.com](mailto:a@evil.example)", "misleading_link"),
        ("Hi\n\nThe police will call.", "threat"),
        ("Hi\n\nPay {{ amount }}", "unformatted"),
    ],
)
def test_a_finding_has_its_line(markdown: str, rule: str) -> None:
    """The lint looks at written e-mails as at others; disguised links are found, each finding once."""
    found = [each for each in _found(markdown) if each.rule == rule and each.where.endswith("email.md.liquid")]
    assert [each.line for each in found] == [3]


def test_a_kinder_word_can_be_put_in_its_place() -> None:
    """The words that the lint found stand in the Markdown where it says."""
    markdown = "Hi *there*\n\n- one\n- {{ lender.name }} & Co: pay **immediately** please"
    [found] = [each for each in _found(markdown) if each.rule == "pressure"]
    line = markdown.split("\n")[found.line - 1]
    assert line[found.column - 1 :].startswith(found.found)


def test_the_line_beside_the_subject_is_looked_at_as_its_own_file() -> None:
    """Personal data in it is found there, once, and the e-mail has the line."""
    version = _version("Hi", **{"en-US/email.preview.liquid": "Pay {{ amount | money: currency }} & more"})
    found = lint(version, WORDS, LENDER.name, lambda *_: "")
    assert {each.where for each in found if each.rule == "personal_data"} == {
        "overdue-first/en-US/email.preview.liquid"
    }
    assert "&amp; more" in rendered(version, "email", Sample("en-US", examples(version))).html


def test_one_message_has_one_form() -> None:
    """A locale with both forms is refused: nobody could say which of them is sent."""
    with pytest.raises(BadTemplate, match="keep one form"):
        _version("Hi", **{"en-US/email.txt.liquid": "Hi"})


@pytest.mark.parametrize("name", sorted(FOLDER.sources()))
@pytest.mark.parametrize("locale", ["en-US", "zh-TW"])
def test_nothing_is_lost_on_the_way_to_the_source(name: str, locale: str) -> None:
    """The source made of a written e-mail is sent as that was, byte for byte, and can be written again."""
    source = FOLDER.sources()[name]
    written = TemplateVersion(source, LENDER, PROFILES)
    laid_out = TemplateVersion(in_source_form(source, locale), LENDER, PROFILES)
    sample = Sample(locale, examples(written))
    assert rendered(laid_out, "email", sample) == rendered(written, "email", sample)
    again = to_markdown(MAIL, laid_out.source.parts, locale)
    assert again["email.md.liquid"].rstrip() == source.parts[f"{locale}/email.md.liquid"]


def test_what_markdown_lacks_is_named() -> None:
    """A source with a picture or several columns is not converted, and the reason says what is in the way."""
    source = in_source_form(SHIPPED, "en-US").parts
    mjml = source["en-US/email.mjml.liquid"]
    for old, new in (
        ("</mj-column>", '<mj-image src="https://example.com/a.png" alt="" /></mj-column>'),
        ("</mj-column>", "</mj-column><mj-column></mj-column>"),
        ("Dear", "<u>Dear</u>"),
    ):
        with pytest.raises(NotConvertible):
            to_markdown(MAIL, {**source, "en-US/email.mjml.liquid": mjml.replace(old, new, 1)}, "en-US")


def test_a_language_without_shared_texts_has_a_plain_layout() -> None:
    """Its e-mails are built, and its opt-out line stays in the text where no foot has it."""
    kept = {name: text for name, text in SHIPPED.fragments.items() if "mail-" not in name}
    source = replace(_source("Hi\n\n{% render 'opt-out-email' %}"), fragments=kept)
    version = TemplateVersion(source, LENDER, PROFILES)
    made = rendered(version, "email", Sample("en-US", examples(version)))
    assert "reply with STOP" in made.html
    assert "reply with STOP" in made.text


def test_a_plain_text_that_says_something_else_is_not_thrown_away() -> None:
    """Where the two texts of a source differ, one Markdown can't be both: the words that differ are named."""
    version = TemplateVersion(in_source_form(SHIPPED, "en-US"), LENDER, PROFILES)
    files = dict(version.source.parts)
    assert "en-US/email.md.liquid" in other_form(PROFILES, version, files, "en-US")
    files["en-US/email.txt.liquid"] = files["en-US/email.txt.liquid"].replace("Pay online", "Pay here")
    with pytest.raises(NotConvertible, match=r"“here: .*“online: "):
        other_form(PROFILES, version, files, "en-US")


def test_one_unreadable_part_hides_no_finding() -> None:
    """A draft whose subject can't be compiled still has the findings of its other parts, each with its own error."""
    problems: list[TemplateProblem] = []
    version = TemplateVersion(
        _source("Hi\n\nThe police will call.", **{"en-US/email.subject.liquid": "{{ nope }}"}),
        LENDER,
        PROFILES,
        problems,
    )
    found = lint(version, WORDS, LENDER.name, lambda *_: "")
    assert [each.where for each in problems] == ["overdue-first/en-US/email.subject.liquid"]
    assert [(each.where, each.line) for each in found if each.rule == "threat"] == [
        ("overdue-first/en-US/email.md.liquid", 3)
    ]
    assert not [each for each in found if each.rule == "missing_locale"]
