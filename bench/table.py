"""Results as the Markdown table of `bench/README.md`. Called by `bench.__main__`."""

from bench.figures import TARGETS, Figure, Results

RATIOS = {"tps": "pgbouncer", "rows_s": "pgbouncer", "cpu_us": "pgbouncer", "p99_us": "pgbouncer"}
"""Measures that are shown beside those of another target in the same run."""
SHOWN = ("tps", "rows_s", "p50_us", "p99_us", "cpu_us", "rss_mib", "idle_bytes")


def table(results: Results) -> str:
    columns = ("case", "way", *SHOWN, *(f"{m} ÷ {other}" for m, other in RATIOS.items()))
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    lines += [
        _row(results, case, target)
        for case in results.cases
        for target in TARGETS
        if results.measures(case, target)
    ]
    return "\n".join(lines)


def _row(results: Results, case: str, target: str) -> str:
    canned = target.endswith("-canned") * "-canned"
    cells = [case, target, *(_plain(results.plain(case, target, measure)) for measure in SHOWN)]
    for measure, other in RATIOS.items():
        same = target == other + canned
        ratio = None if same else results.ratio(case, target, other + canned, measure)
        cells.append(_ratio(ratio))
    return "| " + " | ".join(cells) + " |"


def _plain(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure['median']:.{0 if figure['median'] >= 100 else 1}f}"


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"**{figure['median']:.2f}** ({figure['low']:.2f}–{figure['high']:.2f})"
