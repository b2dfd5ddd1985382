"""Writes what was found into results/: results.json, results.md with every figure, and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

_PLOTS = (
    ("accept", "Reminders accepted a second, 32 connections, one API process", "accept_", "_32"),
    ("batches", "Reminders accepted a second, by how many come in one request", "accept_ours_", ""),
    ("dispatch", "Messages handed over a second, one worker unless it says two", "dispatch_", ""),
    ("queues", "Jobs of nothing a second, one worker; and Kannel's messages", ("noop_", "kannel"), ""),
)


def write(answer: Mapping[str, Any], versions: Mapping[str, object], missing: Mapping[str, str]) -> None:
    """All files, over those of the last run."""
    RESULTS.mkdir(exist_ok=True)
    full = {**answer, **versions, "missing": dict(missing)}
    (RESULTS / "results.json").write_text(json.dumps(full, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "results.md").write_text(_page(full), encoding="utf-8")
    _plot(answer["measurements"])


def _page(full: Mapping[str, Any]) -> str:
    lines = [
        "# Results",
        "",
        "Written by `./ops/bench/run`; what the figures mean is in [what-dominates.md](../what-dominates.md).",
        "",
        f"- machine: {full['machine']}",
        f"- Python {full['python']}, commit {full['commit']}",
        f"- versions: {', '.join(f'{name} {found}' for name, found in full['versions'].items())}",
        "",
        "| target | value | wanted | met |",
        "|---|---|---|---|",
    ]
    for each in full["targets"]:
        value = "not measured" if each["value"] is None else f"{each['value']:,.2f}"
        lines.append(f"| {each['name']} | {value} | {each['target']} | {'yes' if each['met'] else '**no**'} |")
    lines += ["", "Limits of Python, not targets:", "", "| limit | value | wanted once |", "|---|---|---|"]
    for each in full["limits"]:
        value = "not measured" if each["value"] is None else f"{each['value']:,.2f}"
        lines.append(f"| {each['name']} | {value} | {each['target']} |")
    lines += [
        "",
        "Rates are a second unless the name says otherwise (`_mb`, `_percent`, `round_trips`). Median of the rounds,",
        "the slowest and the fastest beside it; `cpu` is milliseconds of the measured process for each item.",
        "",
        "| measurement | median | slowest–fastest | rounds | p50 / p95 / p99 ms | cpu ms | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, found) for name, found in full["measurements"].items()]
    lines += ["", "## The model", "", *_model(full["measurements"])]
    if full["missing"]:
        lines += ["", "Not measured:", ""]
        lines += [f"- `{name}`: {' '.join(why.split())[:300]}" for name, why in full["missing"].items()]
    return "\n".join(lines) + "\n"


# What a part can do at most by the model of capacity.md: its share of a processor, or its provider's connections.
_BOUNDS = (
    ("accept_ours_postgresql_32", None, 0.0),
    ("accept_ours_postgresql_256", None, 0.0),
    ("accept_ours_sqlite_32", None, 0.0),
    ("dispatch_http_0ms", 50, 0.0),
    ("dispatch_http_20ms", 50, 0.020),
    ("dispatch_http_100ms", 50, 0.100),
    ("dispatch_smtp", 20, 0.0),
)


def _model(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each rate that the model predicts beside the measured one."""
    lines = [
        "| part | bound by its processor | bound by its connections | predicted | measured | measured / predicted |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, connections, delay in _BOUNDS:
        if name not in found or not found[name]["cpu_ms"]:
            continue
        processor = 1000 / found[name]["cpu_ms"]
        waiting = connections / delay if connections and delay else float("inf")
        predicted, measured = min(processor, waiting), found[name]["per_second"]
        shown = "–" if waiting == float("inf") else f"{waiting:,.0f}"
        figures = f"{processor:,.0f} | {shown} | {predicted:,.0f} | {measured:,.0f} | {measured / predicted:.2f}"
        lines.append(f"| `{name}` | {figures} |")
    return lines


def _row(name: str, found: Mapping[str, Any]) -> str:
    waits = " / ".join(f"{found['latency_ms'][each]:,.1f}" for each in ("p50", "p95", "p99") if found["latency_ms"])
    cpu = f"{found['cpu_ms']:.3f}" if found["cpu_ms"] else ""
    spread = f"{found['slowest']:,.1f}–{found['fastest']:,.1f}"
    failed = found["failed"] or ""
    return f"| `{name}` | {found['per_second']:,.1f} | {spread} | {found['rounds']} | {waits} | {cpu} | {failed} |"


def _plot(measurements: Mapping[str, Mapping[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    for name, title, start, end in _PLOTS:
        chosen = [each for each in measurements if each.startswith(start) and each.endswith(end)]
        if chosen:
            _bars(RESULTS / f"{name}.png", title, {each: measurements[each] for each in chosen})
    if any(each.removeprefix("growth_").isdigit() for each in measurements):
        _growth(RESULTS / "growth.png", measurements)
    waits = {
        each: found for each, found in measurements.items() if each.startswith("endtoend_") and found["latency_ms"]
    }
    if waits:
        _waits(RESULTS / "endtoend.png", waits)


def _bars(path: Path, title: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.45 * len(found) + 1.5))
    values = [each["per_second"] for each in found.values()]
    below = [each["per_second"] - each["slowest"] for each in found.values()]
    above = [each["fastest"] - each["per_second"] for each in found.values()]
    axes.barh(list(found), values, xerr=[below, above], capsize=3, color="#4c72b0")
    axes.invert_yaxis()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("a second; lines from the slowest to the fastest round")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


_GROWTH_AXES: tuple[tuple[str, Callable[[Mapping[str, Any], str], float]], ...] = (
    ("worker's processor, ms for a message", lambda found, name: found[name]["cpu_ms"]),
    ("worker's memory, MB", lambda found, name: found[f"{name}_memory_mb"]["per_second"]),
    ("WAL, bytes for a reminder's life", lambda found, name: found[f"{name}_wal_bytes"]["per_second"]),
)


def _growth(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """What a reminder costs by the size of the ledger, beside reminders that wait and beside ended ones."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_GROWTH_AXES), figsize=(11, 3.6))
    for panel, (label, value) in zip(panels, _GROWTH_AXES, strict=True):
        for start, kind in (("growth_", "waiting"), ("growth_ended_", "ended")):
            sizes = sorted(int(each.removeprefix(start)) for each in found if each.removeprefix(start).isdigit())
            values = [value(found, f"{start}{size}") for size in sizes]
            panel.plot(sizes, values, marker="o", label=kind)
            panel.set_ylim(0, max(panel.get_ylim()[1], 1.3 * max(values, default=1)))
        panel.set_xscale("log")
        panel.set_xlabel("reminders in the ledger")
        panel.set_title(label, fontsize=9)
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _waits(path: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4))
    ordered = sorted(found.values(), key=lambda each: float(each["per_second"]))
    rates = [each["per_second"] for each in ordered]
    for share in ("p50", "p95", "p99"):
        axes.plot(rates, [each["latency_ms"][share] for each in ordered], marker="o", label=share)
    axes.set_xlim(left=0)
    axes.set_xlabel("messages a second that went all the way")
    axes.set_yscale("log")
    axes.set_ylabel("request to provider, ms")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
