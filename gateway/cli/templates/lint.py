"""Commands on a folder of templates, without a server. Commands on a gateway are in versions.py."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import console
from gateway.cli.runner import fail, settings
from gateway.cli.templates import versions, writing

if TYPE_CHECKING:
    from gateway.templates import TemplateVersion
    from gateway.templates.checks.lint import LintFinding

app = typer.Typer(help="The templates.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[TEMPLATE]...", help="These; default: all.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="The templates; default: those that are in use.")]
AsJson = Annotated[bool, typer.Option("--json", help="The findings as JSON on stdout.")]


versions.install(app)
writing.install(app)


@app.callback()
def templates() -> None:
    """The templates."""


@app.command()
def lint(names: Names = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """Find unlawful, unkind, costly or broken words, each with position and remedy. Exit status 1 for errors."""
    from channels import registry
    from gateway import policy
    from gateway.app.templates import templates_folder
    from gateway.templates import BadTemplate, Catalog, Lender
    from gateway.templates.checks import lint as linting

    chosen = settings()
    where = folder or templates_folder(chosen)
    lender = Lender(chosen.lender_name, chosen.lender_phone, chosen.lender_help_url)
    by_name: dict[str, list[LintFinding]] = {}
    try:
        words = linting.load_words(where / "_lint")
        refuses = policy.refuses_text(policy.load_packs(where / "policies"), datetime.now(UTC))

        def lint_version(version: TemplateVersion) -> None:
            wanted = not names or version.id in names
            by_name[version.id] = linting.lint(version, words, lender.name, refuses) if wanted else []

        Catalog.load(where, lender=lender, profiles=registry.profiles(registry.discover()), on_compiled=lint_version)
    except (BadTemplate, ValueError, OSError) as error:
        fail(str(error), 1)
    for name in names or ():
        if name not in by_name:
            fail(f"there is no template {name}; there are {', '.join(sorted(by_name))}", 2)
    found = [each for name in names or sorted(by_name) for each in by_name[name]]
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False))
    elif found:
        rows = [(each.level, each.where, _place(each), each.rule, each.detail, each.remedy) for each in found]
        console.STDOUT.print(console.table(None, ("level", "where", "place", "rule", "what", "remedy"), rows))
    counts = Counter(each.level for each in found)
    console.STDERR.print(", ".join(f"{counts[level]} {level}s" for level in linting.LEVELS))
    if counts["error"]:
        raise typer.Exit(1)


def _place(finding: LintFinding) -> str:
    return f"{finding.line}:{finding.column}" if finding.line else ""
