"""Results as the Markdown table of `bench/README.md`. Called by `bench.__main__`."""

from bench.figures import TARGETS, Figure, Results

RATIOS = ("tps", "rows_s", "cpu_us", "p99_us", "misses")
"""Measures that are shown beside those of the peer in the same run."""
SHOWN = ("tps", "rows_s", "p50_us", "p99_us", "cpu_us", "rss_mib", "idle_bytes", "misses")
"""`misses`: long texts answered. Who sends them waits for each, so that behind a slower way there
are fewer of them beside the latencies of its row."""


def table(results: Results) -> str:
    columns = ("case", "way", *SHOWN, *(f"{m} ÷ {results.peer}" for m in RATIOS))
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
    for measure in RATIOS:
        other = results.peer + canned
        ratio = None if target == other else results.ratio(case, target, other, measure)
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
