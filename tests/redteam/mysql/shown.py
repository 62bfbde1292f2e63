"""Reports as tables of text, and what they come to. Used by the command line and tests/corpus."""

from collections.abc import Mapping
from typing import Any

from tests.redteam.mysql.attacks import ORDER

ANSWERED_SHARE_MIN = 0.9
"""Of the harmless statements on masked columns."""
Report = dict[str, Any]


def status(kind: str, report: Report) -> int:
    """0: as it should be."""
    if kind == "attacks":
        return int(bool(report["leaked_ids"] or report["runner_errors"]))
    if kind == "benign":
        return int(bool(report["failing"]))
    if kind == "harmless":
        few = report["answered"] < ANSWERED_SHARE_MIN * report["statements"]
        return int(few or bool(report["leaked"]))
    return int(bool(report["missed_ids"] or report["false_positives"]))


def table(name: str, kind: str, report: Report) -> str:
    """A heading, a line for each category where there are any, and what is wrong."""
    lines = [f"{name}: {_figures(kind, report)} ({report['seconds']:.0f} s)"]
    lines += _categories(report.get("by_category", {}))
    lines += [f"  {one}" for one in _wrong(kind, report)]
    return "\n".join(lines) + "\n"


def _figures(kind: str, report: Report) -> str:
    if kind == "attacks":
        return (
            f"{report['attacks']} attacks, leaked {report['leaked_direct']} directly"
            f" and {report['leaked_inference']} by inference"
        )
    if kind == "benign":
        wrong = report["false_positive_statements"]
        return f"{report['runs']} runs of {report['statements']} items, {wrong} differ"
    if kind == "harmless":
        return f"{report['answered']} of {report['statements']} answered"
    wrong = len(report["missed_ids"]) + len(report["false_positives"])
    return f"{report['statements']} statements, {wrong} decided wrongly"


def _categories(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    columns = [
        name for name in (*ORDER, "same", "different") if any(name in r for r in rows.values())
    ]
    width = max((len(name) for name in rows), default=0)
    shown = [f"  {'':<{width}}" + "".join(f"{name:>11}" for name in columns)] if rows else []
    for category, row in sorted(rows.items()):
        cells = "".join(f"{row.get(name, 0) or '.':>11}" for name in columns)
        shown.append(f"  {category:<{width}}{cells}")
    return shown


def _wrong(kind: str, report: Report) -> list[str]:
    if kind == "attacks":
        leaked = [f"leaked: {' '.join(report['leaked_ids'])}"] if report["leaked_ids"] else []
        return leaked + [f"{key}: {str(why)[:200]}" for key, why in report["runner_errors"].items()]
    parts = {
        "benign": ("failing",),
        "harmless": ("leaked", "refused"),
        "guard": ("missed_ids", "false_positives"),
    }[kind]
    return [
        f"{part} {key}: {str(why)[:300]}" for part in parts for key, why in report[part].items()
    ]
