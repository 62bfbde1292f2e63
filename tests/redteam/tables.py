"""Reports as tables of text, one line a category. Used by the command line."""

import json
from collections.abc import Collection, Mapping, Sequence

from tests.redteam import corpus
from tests.redteam.runs import Outcome, Pass, Report

ATTACK_COLUMNS = ("leaked", "ok", "blocked", "error", "held", "closed", "setup", "runner_error")
BENIGN_COLUMNS = ("same", "different")
GUARD_COLUMNS = ("right", "missed", "refused wrongly")


def table(todo: Pass, outcome: Outcome) -> str:
    """A heading, a line per category with its counts, a line of totals, and what is wrong."""
    columns: tuple[str, ...]
    if todo.kind == "guard":
        columns, rows = GUARD_COLUMNS, _guard_rows(todo, outcome)
    else:
        columns = ATTACK_COLUMNS if todo.kind == "attacks" else BENIGN_COLUMNS
        rows = outcome.report["by_category"]
    used = [name for name in columns if any(name in row for row in rows.values())]
    lines = [_heading(todo, outcome.report), *_lines(rows, used), *_wrong(todo, outcome.report)]
    lines += [f"  skipped {name}: {reason}" for name, reason in outcome.skipped.items()]
    return "\n".join(lines) + "\n"


def ending(wrong: Mapping[str, Sequence[str]], known: Collection[str]) -> str:
    """What is to be said beside an exit status that is not 0. `wrong`: where -> ids that leaked,
    differ or were decided wrongly; `known`: those that a limit in README lets through."""
    lines = []
    for where, ids in wrong.items():
        others = [name for name in ids if name not in known]
        if others:
            lines.append(f"redteam: {where}: to be mended: {' '.join(others)}")
        if len(others) < len(ids):
            limits = " ".join(name for name in ids if name in known)
            lines.append(f"redteam: {where}: wrong, and said so in README's limits: {limits}")
    return "\n".join(lines)


def wrong_ids(report: Report) -> list[str]:
    """Ids of what leaked, differs or was decided wrongly, whatever the kind of the pass."""
    found: list[str] = [*report.get("leaked_ids", ()), *report.get("failing", ())]
    return [*found, *report.get("missed_ids", ()), *report.get("false_positives", ())]


def _lines(rows: Mapping[str, Mapping[str, int]], columns: list[str]) -> list[str]:
    total = {name: sum(row.get(name, 0) for row in rows.values()) for name in columns}
    width = max((len(name) for name in rows), default=5)
    heads = "".join(f"{name:>{max(len(name), 5) + 2}}" for name in columns)
    shown = [f"  {'category':<{width}}{heads}"]
    for category, row in [*sorted(rows.items()), ("all", total)]:
        cells = "".join(f"{row.get(name, 0) or '.':>{max(len(name), 5) + 2}}" for name in columns)
        shown.append(f"  {category:<{width}}{cells}")
    return shown


def _heading(todo: Pass, report: Report) -> str:
    if todo.kind == "attacks":
        figures = (
            f"{report['attacks']} attacks, leaked {report['leaked_direct']} directly"
            f" and {report['leaked_inference']} by inference"
        )
    elif todo.kind == "benign":
        figures = (
            f"{report['runs']} runs of {report['statements']} statements, "
            f"{report['false_positive_statements']} statements differ"
        )
    else:
        wrong = len(report["missed_ids"]) + len(report["false_positives"])
        figures = f"{report['statements']} statements, {wrong} decided wrongly"
    return f"{todo.name}: {figures} ({report['seconds']:.0f} s)"


def _guard_rows(todo: Pass, outcome: Outcome) -> dict[str, dict[str, int]]:
    """By category, which the runner leaves to us here."""
    rows: dict[str, dict[str, int]] = {}
    for item in corpus.selected(corpus.read(todo.corpus), todo.only):
        name = item["id"]
        if name in outcome.skipped:
            continue
        column = "right"
        if name in outcome.report["missed_ids"]:
            column = "missed"
        elif name in outcome.report["false_positives"]:
            column = "refused wrongly"
        row = rows.setdefault(item["category"], {})
        row[column] = row.get(column, 0) + 1
    return rows


def _wrong(todo: Pass, report: Report) -> list[str]:
    if todo.kind == "attacks":
        known = corpus.limits(todo.corpus)
        lines = [f"  leaked: {' '.join(report['leaked_ids'])}"] if report["leaked_ids"] else []
        lines += [
            f"  a limit {name}: {known[name]}" for name in report["leaked_ids"] if name in known
        ]
        for name, modes in report["runner_errors"].items():
            lines.append(f"  not carried out {name}: {json.dumps(modes, ensure_ascii=False)[:200]}")
        return lines
    if todo.kind == "benign":
        return [
            f"  differs {name}: {json.dumps(modes, ensure_ascii=False)[:300]}"
            for name, modes in report["failing"].items()
        ]
    return [f"  missed {name}" for name in report["missed_ids"]] + [
        f"  refused wrongly {name}: {why[:200]}" for name, why in report["false_positives"].items()
    ]
