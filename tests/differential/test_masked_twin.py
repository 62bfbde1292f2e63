"""The masked twin (DESIGN 4.1): what Sallyport answers over the raw database is what a direct
connection answers over a database whose sensitive cells are their masks, or a refusal.

Names, types, rows and command tags, however the statement is asked. One session per side and way;
statements that write are rolled back, so that both sides stay what they were.
"""

import json
from collections import Counter

import pytest

from tests.differential import answers
from tests.differential.answers import WAYS, Answer, Case
from tests.differential.conftest import Stage, cases, raw_of
from tests.wireclient import Closed, WireClient

ANSWERED_MIN = 0.95
"""Of the harmless statements."""

CASES = [*cases("harmless"), *cases("benign")]
LEFT_OUT = {
    "h-explain-01": "a plan is of the statement that was sent, and names its aliases",
    "b-catalog-04": "shows NOT NULL of columns that the twin holds NULL in",
}


class Sides:
    """A session through Sallyport on the raw database and one on the twin, in step."""

    def __init__(self, stage: Stage, policy: str) -> None:
        self._stage = stage
        self._policy = policy
        self._raw: WireClient | None = None
        self._twin: WireClient | None = None

    def ask(self, case: Case, way: str) -> tuple[Answer, Answer | None]:
        """(through Sallyport, on the twin); the twin is not asked what was refused."""
        if self._raw is None or self._twin is None:
            self._raw = self._stage.governed.through(self._policy, raw_of(self._policy))
            self._twin = self._stage.governed.direct(self._policy)
        own = _transactions(case)
        wrapped = case.get("reset", False) and not own
        got = _asked(self._raw, case, way, wrapped)
        expected = None if got.refused else _asked(self._twin, case, way, wrapped)
        if len(case["steps"]) > 1 or wrapped or "raw" in case["steps"][0]:
            self.close()  # settings, temporary tables, prepared statements
        return got, expected

    def close(self) -> None:
        for side in (self._raw, self._twin):
            if side is not None:
                side.close()
        self._raw = self._twin = None


def _transactions(case: Case) -> bool:
    texts = [str(step.get("q", "")).lower() for step in case["steps"]]
    return any(text.startswith(("begin", "commit", "savepoint")) for text in texts)


def _asked(client: WireClient, case: Case, way: str, wrapped: bool) -> Answer:
    if wrapped:
        client.query("BEGIN")
    try:
        return answers.ask(client, case, way)
    except Closed as closed:
        return Answer((("closed", str(closed)),))
    except TimeoutError:
        return Answer((("silent", ""),))
    finally:
        if wrapped:
            client.query("ROLLBACK")


class Tally:
    """What became of the cases asked in one way under one policy."""

    def __init__(self) -> None:
        self.equal = 0
        self.refused: dict[str, str] = {}
        self.differing: list[str] = []

    def add(self, case: Case, way: str, got: Answer, expected: Answer | None) -> None:
        if expected is None:
            self.refused[case["id"]] = got.refused
        elif got.parts == expected.parts:
            self.equal += 1
        else:
            text = json.dumps(case["steps"], ensure_ascii=False)
            self.differing.append(f"{case['id']} ({way}) {text}\n{got.unlike(expected)}")


@pytest.fixture(scope="module")
def tallies() -> dict[tuple[str, str], Tally]:
    return {}


@pytest.mark.parametrize("policy", ["nulls", "mixed"])
@pytest.mark.parametrize("way", list(WAYS))
def test_none_differs(
    stage: Stage, policy: str, way: str, tallies: dict[tuple[str, str], Tally]
) -> None:
    tally = tallies[policy, way] = Tally()
    sides = Sides(stage, policy)
    for case in CASES:
        if case["id"] in LEFT_OUT or not answers.suits(case, way):
            continue
        tally.add(case, way, *sides.ask(case, way))
    sides.close()
    assert not tally.differing, _shown(tally)
    assert tally.equal


@pytest.mark.parametrize("policy", ["nulls", "mixed"])
def test_harmless_statements_are_answered(
    stage: Stage, policy: str, tallies: dict[tuple[str, str], Tally]
) -> None:
    harmless = {case["id"]: case for case in cases("harmless") if case["id"] not in LEFT_OUT}
    assert len(harmless) >= 120
    refused = {
        name: reason
        for name, reason in tallies[policy, "simple"].refused.items()
        if name in harmless
    }
    share = 1 - len(refused) / len(harmless)
    listed = "\n".join(
        f"{name}: {harmless[name]['steps']}\n    {reason}" for name, reason in refused.items()
    )
    kinds = Counter(harmless[name]["category"] for name in refused)
    print(f"{policy}: {share:.1%} of {len(harmless)} answered; refused: {dict(kinds)}")
    assert share >= ANSWERED_MIN, f"{share:.1%}\n{listed}"


def test_a_difference_is_seen(stage: Stage) -> None:
    """The comparison itself: the raw database is not its own twin."""
    case = {"id": "raw", "steps": [{"q": "SELECT id, email FROM customers ORDER BY id"}]}
    for way in WAYS:
        with stage.governed.direct(raw_of("nulls")) as raw, stage.governed.direct("nulls") as twin:
            assert answers.ask(raw, case, way).parts != answers.ask(twin, case, way).parts, way


def _shown(tally: Tally) -> str:
    return f"{len(tally.differing)} differ:\n" + "\n".join(tally.differing)
