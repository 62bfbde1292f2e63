"""The policies that come along: they compile, and do what they say."""

from pathlib import Path

import pytest

from appliance.model.decision import Effect
from appliance.model.facts import Action, Confidence, Flag
from appliance.policy.compile import compile_documents
from appliance.policy.presets import PRESETS
from appliance.policy.snapshot import Snapshot
from tests.unit.policy.building import (
    ALICE,
    BOB,
    CATALOG,
    COPILOT,
    CUSTOMERS,
    EMAIL,
    PHONE,
    TARGET,
    decide,
    statement,
    use,
)

FOLDER = Path(__file__).parents[3] / "config" / "policies"
FILES = [file for file in sorted(FOLDER.glob("*.yaml")) if not file.stem.endswith(".cases")]
SELECT = statement(relations=[use(Action.SELECT, CUSTOMERS, "email")])
DROP = statement(relations=[use(Action.DROP, CUSTOMERS)])
OPAQUE = statement(Action.OPAQUE, confidence=Confidence.OPAQUE)
DELETE_ALL = statement(relations=[use(Action.DELETE, CUSTOMERS)], flags=[Flag.NO_WHERE])


def load(name: str) -> Snapshot:
    return compile_documents([(name, (FOLDER / f"{name}.yaml").read_bytes())])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_compiles(file: Path) -> None:
    assert compile_documents([(file.name, file.read_bytes())]).rules


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_built_in_is_what_the_file_says(name: str) -> None:
    assert PRESETS[name] == (FOLDER / f"{name}.yaml").read_bytes()


@pytest.mark.parametrize("action", Action)
def test_permissive_allows_everything(action: Action) -> None:
    snapshot = load("permissive")
    assert decide(snapshot, statement(action)).effect is Effect.ALLOW
    assert not snapshot.entitlements(ALICE, TARGET, CATALOG, "shop").owes


@pytest.mark.parametrize("action", Action)
def test_observe_refuses_nothing_and_has_an_opinion_of_everything(action: Action) -> None:
    decision = decide(load("observe"), statement(action))
    assert decision.effect is Effect.ALLOW
    assert "default" not in {reason.rule for reason in decision.reasons}


def test_observe_reports_what_it_would_do() -> None:
    snapshot = load("observe")
    found = {
        name: decide(snapshot, subject).would_be
        for name, subject in (
            ("select", SELECT),
            ("drop", DROP),
            ("opaque", OPAQUE),
            ("delete", DELETE_ALL),
        )
    }
    assert found == {
        "select": None,
        "drop": Effect.HOLD,
        "opaque": Effect.DENY,
        "delete": Effect.DENY,
    }


def test_read_only_masked() -> None:
    snapshot = load("read-only-masked")
    decision = decide(snapshot, SELECT)
    assert decision.effect is Effect.ALLOW and set(decision.masks) == {EMAIL}
    assert decision.owed.keys() == {EMAIL, PHONE}
    assert not decide(snapshot, SELECT, principal=BOB).owes_masks
    for refused in (DROP, OPAQUE, DELETE_ALL):
        assert decide(snapshot, refused, principal=BOB).effect is Effect.DENY
    agent = decide(snapshot, SELECT, principal=COPILOT)
    assert (agent.row_limit, agent.statement_timeout_ms) == (10_000, 30_000)
