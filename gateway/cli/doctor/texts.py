"""Checks templates and policy packs with their linters."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from channels import registry
from gateway import policy
from gateway.app.settings import Settings
from gateway.cli.doctor.finding import CheckResult, error, ok, warning
from gateway.policy import inspect
from gateway.replies.understanding import load_interpreter
from gateway.templates import BadTemplate, Catalog, Lender, TemplateVersion
from gateway.templates.checks import lint as linting


def check(settings: Settings, folder: Path, now: datetime) -> list[CheckResult]:
    """Problems of the templates and policy packs in use."""
    return [*policies(folder / "policies"), *templates(settings, folder, now)]


def policies(folder: Path) -> list[CheckResult]:
    """Check the policy packs: errors prevent a start; unverified figures need the lender's lawyers."""
    try:
        found = inspect.lint(folder)
        load_interpreter(folder)
    except (OSError, ValueError) as broken:
        return [error("policies", f"the packs can't be read: {broken}", "gateway policy lint")]
    errors = [each for each in found if each.level == "error"]
    if errors:
        what = "; ".join(f"{each.file} {each.place}: {each.message}" for each in errors[:3])
        return [error("policies", what, "gateway policy lint lists all")]
    if found:
        what = f"{len(found)} figures that nobody has seen in the law's own text"
        return [
            warning(
                "policies", what, "gateway policy lint lists them: have your lawyers confirm those that concern you"
            )
        ]
    return [ok("policies", "every figure has its authority")]


def templates(settings: Settings, folder: Path, now: datetime) -> list[CheckResult]:
    """Check the templates: compile errors prevent a start; lint errors are reported."""
    lender = Lender(settings.lender_name, settings.lender_phone, settings.lender_help_url)
    found: list[linting.LintFinding] = []
    try:
        words = linting.load_words(folder / "_lint")
        refuses = policy.refuses_text(policy.load_packs(folder / "policies"), now)

        def lint_version(version: TemplateVersion) -> None:
            found.extend(linting.lint(version, words, lender.name, refuses))

        live = Catalog.load(
            folder, lender=lender, profiles=registry.profiles(registry.discover()), on_compiled=lint_version
        ).live()
    except (BadTemplate, OSError, ValueError) as broken:
        return [error("templates", f"they can't be used: {broken}", "gateway template lint")]
    if not live:
        return [error("templates", f"there is none in {folder}", "set GATEWAY_TEMPLATES_DIR")]
    errors = sum(each.level == "error" for each in found)
    if errors:
        return [error("templates", f"{errors} errors in {len(live)} templates", "gateway template lint lists them")]
    return [ok("templates", f"{len(live)} templates without errors")]
