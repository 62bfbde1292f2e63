"""Results as the Markdown table of `bench/README.md`. Called by `bench.__main__`."""

from bench.figures import PROXIES, Figure, Results

COLUMNS = (
    "case",
    "way",
    "queries/s",
    "p50 µs",
    "p99 µs",
    "queries/s ÷ direct",
    "queries/s ÷ pgbouncer",
    "CPU µs/query",
    "CPU ÷ pgbouncer",
    "RSS MiB",
)


def table(results: Results) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    lines += [
        _row(results, case, target)
        for case in results.cases
        for target in ("direct", *PROXIES)
        if target in results.targets
    ]
    return "\n".join(lines)


def _row(results: Results, case: str, target: str) -> str:
    proxy = target != "direct"
    cells = [
        case,
        target,
        _plain(results.plain(case, target, "tps")),
        _plain(results.plain(case, target, "p50_us")),
        _plain(results.plain(case, target, "p99_us")),
        _ratio(results.ratio(case, target, "direct", "tps")) if proxy else "",
        _ratio(results.ratio(case, target, "pgbouncer", "tps")) if proxy else "",
        _plain(results.plain(case, target, "cpu_us"), 1) if proxy else "",
        _ratio(results.ratio(case, target, "pgbouncer", "cpu_us")) if proxy else "",
        _plain(results.plain(case, target, "rss_mib")) if proxy else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _plain(figure: Figure | None, digits: int = 0) -> str:
    return "" if figure is None else f"{figure['median']:.{digits}f}"


def _ratio(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"**{figure['median']:.2f}** ({figure['low']:.2f}–{figure['high']:.2f})"
