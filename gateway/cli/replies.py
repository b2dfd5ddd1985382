"""Commands on how replies are understood: explain one text, and evaluate a file of labelled ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import console
from gateway.cli.runner import fail, settings

app = typer.Typer(help="How borrowers' replies are understood.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout.")]
Packs = Annotated[list[str] | None, typer.Option("--pack", help="A pack of the borrower's; default: default and cn.")]

# With cn its single-letter keywords of stop count, too.
_PACKS = ("default", "cn")


@app.command()
def explain(text: str, packs: Packs = None, as_json: AsJson = False) -> None:
    """Say what a text is taken for, by which rules or weights, of which version."""
    from gateway.app.templates import policies_folder
    from gateway.replies.understanding import BY_WEIGHTS, load_interpreter

    interpreter = load_interpreter(policies_folder(settings()))
    said = interpreter.understand(text, packs or _PACKS)
    words = interpreter.safety.normalise(text)
    hits, mentions = interpreter.safety.hits(text)
    used = interpreter.serious if BY_WEIGHTS in said.rules else interpreter.weights
    found = {
        "intent": said.intent,
        "intents": list(said.intents),
        "holds": list(said.holds),
        "urgency": said.urgency.name.lower(),
        "review_within_minutes": said.review_within.total_seconds() / 60,
        "confidence": round(said.confidence, 3),
        "rules": [{"id": each.rule.id, "words": each.words, "reason": each.rule.reason} for each in hits],
        "plain_words": [each for each in said.rules if not hits and not mentions and each != BY_WEIGHTS],
        "mentioned": [{"id": each.rule.id, "words": each.words} for each in mentions],
        "weights": [[piece, round(weight, 2)] for piece, weight in used.reasons(words, said.intent)],
        "version": said.version,
    }
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.STDOUT.print(console.table(None, ("what", "found"), [(name, str(each)) for name, each in found.items()]))


@app.command("case-secret")
def case_secret(tenant: Annotated[str, typer.Argument(help="The tenant whose case system is asked.")]) -> None:
    """Show the secret that signs questions about balances to a tenant's case system; see ops/case-system.md."""
    from gateway.conversations.case_system import secret_id
    from gateway.core.security.signing import Signer

    typer.echo(Signer(settings().key()).webhook_secret(secret_id(tenant), 1))


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="A .jsonl or .csv file: text, language, intent.", exists=True)],
    packs: Packs = None,
    as_json: AsJson = False,
) -> None:
    """Measure recall, precision and errors on labelled texts, with 95 % intervals."""
    from gateway.app.templates import policies_folder
    from gateway.replies import evaluation
    from gateway.replies.corpus import read_labelled
    from gateway.replies.understanding import load_interpreter

    try:
        corpus = read_labelled(file)
    except (ValueError, OSError) as error:
        fail(str(error), 2)
    found = evaluation.evaluate(corpus, load_interpreter(policies_folder(settings())), packs or _PACKS)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    names = ("safety_recall", "false_hand_over", "wrong_answered", "out_of_scope_answered", "answered")
    shares = [(name, getattr(found, name)) for name in names]
    shares += [(f"recall of {intent}", each) for intent, each in found.recall.items()]
    shares += [(f"precision of {intent}", each) for intent, each in found.precision.items()]
    rows = [
        (name, f"{each.hits}/{each.of}", f"{each.interval[0]:.3f} to {each.interval[1]:.3f}") for name, each in shares
    ]
    console.STDOUT.print(console.table(None, ("measure", "share", "95 % interval"), rows))
    confusion = [(*pair, number) for pair, number in found.confusion.most_common() if pair[0] is not pair[1]]
    console.STDOUT.print(console.table("Confused", ("is", "taken for", "texts"), confusion))
