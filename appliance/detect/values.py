"""How many of a column's values look like what: `detect` for a batch, `Tally` over several.

Called by `dataplane/alarm` in small slices between other work, and by `sallyport classify scan`.
Rule: every value costs a bounded time (cut to VALUE_BYTES_MAX, one pass of one automaton, at most
CANDIDATES_MAX checks for each expression that fits), and only counts are kept.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import re2

from appliance.detect.patterns import DETECTORS, SHARE_MIN, Detector

VALUE_BYTES_MAX: Final = 512
"""What is beyond it in a value is not looked at."""
VALUES_MAX: Final = 2_000
"""Of one call of `detect`; more are left out."""
CANDIDATES_MAX: Final = 4
VALUES_MIN: Final = 20
"""Non-null values below which nothing is said."""
MATCHES_MIN: Final = 2
_MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024
"""For RE2's automaton of all expressions: built as values need it, begun anew when it is full."""


class Finding(msgspec.Struct, frozen=True):
    """`matches` of `values` (non-null) look like `classification`."""

    classification: str
    matches: int
    values: int

    @property
    def share(self) -> float:
        return self.matches / self.values


class _Automaton:
    """All detectors' expressions, as one set and one by one."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character: no value is invalid
        options.max_mem = _MEMORY_BYTES_MAX
        options.log_errors = False
        options.never_capture = True
        self._detectors = detectors
        self._set = re2.Set.SearchSet(options)
        for detector in detectors:
            self._set.Add(detector.pattern)
        self._set.Compile()
        self._single = [re2.compile(d.pattern.encode(), options) for d in detectors]

    def look_at(self, value: bytes) -> set[tuple[str, bool]]:
        """(classification, hinted) of all that the value looks like."""
        found: set[tuple[str, bool]] = set()
        for index in self._set.Match(value) or ():
            detector = self._detectors[index]
            told = (detector.classification, detector.hinted)
            if told not in found and self._holds(detector, index, value):
                found.add(told)
        return found

    def _holds(self, detector: Detector, index: int, value: bytes) -> bool:
        if detector.check is None:
            return True
        if detector.whole:
            return detector.check(value.decode("latin-1"))
        search, start = self._single[index].search, 0
        for _ in range(CANDIDATES_MAX):
            match = search(value, start)
            if match is None:
                return False
            if detector.check(match.group().decode("latin-1")):
                return True
            start = match.end()
        return False


_automaton: _Automaton | None = None


def _shared() -> _Automaton:
    """Made when first asked for: who detects nothing pays nothing."""
    global _automaton
    if _automaton is None:
        _automaton = _Automaton(DETECTORS)
    return _automaton


def prepare() -> None:
    """Builds what all examinations share (about 10 ms), before it is waited for."""
    _shared()


class Tally:
    """Counts over the values of one column; holds no value."""

    __slots__ = ("_hinted", "_plain", "values")

    def __init__(self) -> None:
        self.values = 0
        self._plain: dict[str, int] = {}
        self._hinted: dict[str, int] = {}
        """What looks like it only in a column of that name."""

    def add(self, values: Iterable[bytes]) -> None:
        """Non-null values, in the encoding they came in (UTF-8, or any superset of ASCII)."""
        look_at = _shared().look_at
        for value in values:
            text = value[:VALUE_BYTES_MAX].strip()
            if not text:
                continue
            self.values += 1
            found = look_at(text)
            for classification, hinted in found:
                if not hinted:
                    self._plain[classification] = self._plain.get(classification, 0) + 1
                elif (classification, False) not in found:
                    self._hinted[classification] = self._hinted.get(classification, 0) + 1

    @property
    def enough(self) -> bool:
        """There are values enough for a proposal."""
        return self.values >= VALUES_MIN

    @property
    def suspects(self) -> bool:
        """Something may be found, once the column's name is known."""
        return self.enough and bool(self.findings(self._hinted))

    def findings(self, named: Iterable[str] = ()) -> tuple[Finding, ...]:
        """What is worth a proposal, the largest share first. `named`: the classifications that the
        column's name, type or comment speaks of.
        """
        if self.values < VALUES_MIN:
            return ()
        counts = dict(self._plain)
        for classification in named:
            if classification in self._hinted:
                counts[classification] = (
                    counts.get(classification, 0) + self._hinted[classification]
                )
        found = [
            Finding(name, count, self.values)
            for name, count in counts.items()
            if count >= MATCHES_MIN and count / self.values >= SHARE_MIN[name]
        ]
        return tuple(sorted(found, key=lambda f: (-f.matches, f.classification)))


def detect(values: Sequence[bytes], named: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Proposals for one column's non-null values, at most VALUES_MAX of them; see `Tally`."""
    tally = Tally()
    tally.add(values[:VALUES_MAX])
    return tally.findings(named)
