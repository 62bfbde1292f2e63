"""Results as `bench.__main__` wrote them, read again. Used by `bench.compare` and `bench.plot`."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import Figure
from bench.samples import Sample


class Unreadable(ValueError):
    """No results; the text is one line that names the file."""


class Document(NamedTuple):
    """`date` is '' and `samples` are none where the file does not have them."""

    date: str
    figures: dict[str, Figure]
    samples: list[Sample]


def read(path: Path) -> Document:
    """Raises Unreadable."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is not JSON: {error}") from error
    try:
        found = {name: _figure(figure) for name, figure in document["figures"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Unreadable(f"{path} is JSON, but no results of bench") from error
    return Document(str(document.get("date") or ""), found, _samples(document.get("rounds")))


def _figure(found: dict[str, Any]) -> Figure:
    return Figure(
        median=float(found["median"]),
        low=float(found["low"]),
        high=float(found["high"]),
        rounds=int(found["rounds"]),
    )


def _samples(found: Any) -> list[Sample]:
    try:
        return [
            Sample(
                case=str(one["case"]),
                target=str(one["target"]),
                round=int(one["round"]),
                measures={name: float(value) for name, value in one["measures"].items()},
            )
            for one in found
        ]
    except (TypeError, KeyError, AttributeError, ValueError):
        return []
