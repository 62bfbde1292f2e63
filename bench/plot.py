"""`python -m bench.plot`: the summarising figures of `results/latest.json` as an SVG picture, each
as a bar from what is wanted to what was measured. Pure text; no library draws it.
"""

import argparse
import json
import math
from html import escape
from pathlib import Path

from bench.figures import Figure

RESULTS = Path(__file__).with_name("results")
WANTED = {
    "cpu_ratio": (1.15, False),
    "qps_ratio": (0.90, True),
    "added_p50_ratio": (1.15, False),
    "permissive_ratio": (0.95, True),
    "miss_p99_ratio": (1.5, False),
    "bulk_direct_ratio": (0.85, True),
    "bulk_pgbouncer_ratio": (1.3, True),
    "mask_ratio": (0.88, True),
    "tls_connect_ratio": (0.8, True),
    "idle_bytes": (16384.0, False),
    "hit_us": (3.0, False),
    "miss_us": (600.0, False),
}
"""Figure -> (what it must be, whether more is better)."""
LEFT, MIDDLE, WIDTH, LINE, TOP = 170, 430, 700, 26, 40
OCTAVE = 80
"""Pixels for a factor of two."""
OCTAVES_MAX = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.svg")
    options = parser.parse_args()
    document = json.loads(options.results.read_text())
    options.out.write_text(drawn(document["figures"], document["date"][:10]))


def drawn(figures: dict[str, Figure], date: str) -> str:
    """An SVG document. Right of the line is better than what must be, left of it worse."""
    shown = [key for key in WANTED if key in figures]
    height = TOP + LINE * len(shown) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{MIDDLE}" y="18" text-anchor="middle">must be ({escape(date)})</text>',
        f'<text x="{LEFT}" y="18">worse</text>',
        f'<text x="{WIDTH - 60}" y="18">better</text>',
        *(_bar(key, figures[key], TOP + LINE * number) for number, key in enumerate(shown)),
        f'<path d="M{MIDDLE} 26V{height - 20}" stroke="#333"/>',
        "</svg>\n",
    ]
    return "\n".join(parts)


def _bar(key: str, figure: Figure, y: int) -> str:
    wanted, more = WANTED[key]
    ends = [_place(figure[end], wanted, more) for end in ("low", "high")]
    reached = _place(figure["median"], wanted, more)
    colour = "#2a7" if reached >= MIDDLE else "#c54"
    begin, width = min(MIDDLE, reached), max(abs(reached - MIDDLE), 1)
    middle = y + LINE // 2
    return (
        f'<text x="10" y="{middle + 4}">{key}</text>'
        f'<rect x="{begin}" y="{y + 5}" width="{width}" height="{LINE - 10}" fill="{colour}"/>'
        f'<path d="M{min(ends)} {middle}H{max(ends)}" stroke="#000" stroke-opacity="0.5"/>'
        f'<text x="{WIDTH - 100}" y="{middle + 4}">{figure["median"]:g} / {wanted:g}</text>'
    )


def _place(value: float, wanted: float, more: bool) -> int:
    octaves = math.log2(max(value, 1e-9) / wanted) * (1 if more else -1)
    return MIDDLE + round(OCTAVE * max(-OCTAVES_MAX, min(OCTAVES_MAX - 1, octaves)))


if __name__ == "__main__":
    main()
