"""`python -m bench.plot`: the summarising figures of `results/latest.json` as an SVG picture, each
as a bar from what is wanted to what was measured. Pure text; no library draws it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench.document import Unreadable, read
from bench.figures import MUSTS, Figure

RESULTS = Path(__file__).with_name("results")
LEFT, MIDDLE, WIDTH, LINE, TOP = 170, 430, 700, 26, 40
OCTAVE = 80
"""Pixels for a factor of two."""
OCTAVES_MAX = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.svg")
    options = parser.parse_args(arguments)
    try:
        document = read(options.results)
        if not document.date:
            raise Unreadable(f"{options.results} does not say its date")
        options.out.write_text(drawn(document.figures, document.date[:10]))
    except (Unreadable, OSError) as error:
        print(f"bench.plot: {error}", file=sys.stderr)
        return 2
    return 0


def drawn(figures: dict[str, Figure], date: str) -> str:
    """An SVG document. Right of the line is better than what must be, left of it worse."""
    shown = [key for key in MUSTS if key in figures]
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
    wanted, more = MUSTS[key]
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
    sys.exit(main())
