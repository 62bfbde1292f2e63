"""What a text rests on, and what that asks of its execution.

Part of `decisions`. What was looked at before a statement is sent is looked at again when the
server has looked its names up: by a proof in front of its Execute, or, where names are looked up
only as it runs, by a second look (`second_look`).
"""

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from appliance.model.catalog import ColumnKey
from appliance.model.decision import Mask
from appliance.model.facts import Action
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX
from appliance.policy.snapshot import UNCLASSIFIED_RULE
from appliance.session import changes, flow, told
from appliance.session.counted import limit_of
from appliance.session.inflight import Execution, Portal
from appliance.session.questions import Questions
from appliance.session.state import SessionState
from appliance.session.unchanged import FOOTINGS_MAX
from appliance.sql.adoption import adopts
from appliance.sql.footing import Footing, as_found, bare, joined
from appliance.sql.lineage import CatalogLineage
from appliance.sql.stamps import FIRST_USER_OID
from appliance.wire.postgres import refusals

_OIDS = re.compile(r"(?:^|[,/])([0-9]+):")
"""Of relations, in what is expected of a footing."""


class Resting:
    """One session's."""

    __slots__ = ("_adopting", "_questions", "_state")

    def __init__(self, state: SessionState, questions: Questions) -> None:
        self._state = state
        self._questions = questions
        self._adopting: tuple[CatalogLineage | None, Mapping[ColumnKey, Mask], dict[Footing, bool]]
        self._adopting = (None, {}, {})

    def execution(
        self, text: bytes, verdict: flow.Verdict, record_id: str, portal: Portal | None = None
    ) -> Execution:
        """What is about to be sent. It is to be looked at again (`second_look`) when nothing that
        can be asked before it runs tells what its names will mean."""
        rows_max = limit_of(verdict.facts, verdict.decision)
        made = Execution(record_id, verdict, self._state.now, portal, rows_max)
        footing = self._held(verdict)
        if footing is None:
            return made
        looked_up, made.since = self._before(footing, portal)
        if looked_up or footing.calls or changes.looks_up_late(verdict.facts):
            made.text, made.settings = text, self._state.settings.current
            made.rests = self._seen_by_others(footing)
            made.adopts = self.adopts(footing, verdict)
        return made

    def _before(self, footing: Footing, portal: Portal | None) -> tuple[str, int]:
        """What its names meant, and what was open, in front of what looks them up."""
        if portal is not None:
            return portal.looked_up, portal.since
        return self._state.looked_up.get(footing, ""), self._state.unchanged.since

    def bound(self, portal: Portal, *, vouched: bool) -> None:
        """Its Bind is about to be sent. `vouched`: all was looked at in front of it."""
        state, verdict = self._state, portal.verdict
        portal.shapes = state.judge.catalog.shapes
        portal.vouched = state.now if vouched else 0.0
        footing = self._held(verdict)
        portal.since = state.unchanged.since
        if footing is None:
            return
        portal.looked_up = state.looked_up.get(footing, "")
        if portal.name != refusals.QUERY_NAME and self.adopts(footing, verdict):
            state.backend.leave_unproved(portal)  # (of a Query no plan is kept)

    def proved(self, portal: Portal | None) -> None:
        """What it was bound to is as it was judged."""
        if portal is not None:
            portal.proved = True
            self._state.backend.proved(portal)

    def adopts(self, footing: Footing, verdict: flow.Verdict) -> bool:
        """Whether what it rests on may get a part with masked columns while it is locked."""
        lineage, owed = self._state.lineage, verdict.decision.owed
        if lineage is None:
            return True
        if self._adopting[:2] != (lineage, owed):
            self._adopting = (lineage, owed, {})
        known = self._adopting[2]
        if footing not in known:
            if len(known) >= FOOTINGS_MAX:
                known.clear()
            oids = {*footing.direct, *footing.oids}
            known[footing] = adopts(oids, owed, lineage.catalog, UNCLASSIFIED_RULE)
        return known[footing]

    def decides_alike(self, execution: Execution) -> bool:
        """Whether the catalog as it is now decides a text as it was, down to what is sent."""
        judge, verdict, text = self._state.judge, execution.verdict, execution.text
        settings, statements = execution.settings, verdict.facts.statements
        if judge.catalog.lineage is None or settings is None:
            return False
        if len(text) > INLINE_ANALYSIS_BYTES_MAX:
            return False
        if any(s.prepared is not None and s.prepared.verb != "declare" for s in statements):
            return False
        facts = judge.analyse_inline(text, settings)
        again = judge.judge(text, facts, settings, self._state.now, keep=False)
        return (
            again.refusal is None
            and again.restricted
            and again.facts.statements == statements
            and again.plans == verdict.plans
            and again.rewritten == verdict.rewritten
        )

    def _held(self, verdict: flow.Verdict) -> Footing | None:
        """What has to be so when its names are looked up, if anything has. (What is merely inserted
        shows nothing.)"""
        facts = verdict.facts
        if not verdict.restricted or not (changes.holds(facts) or changes.fetches(facts)):
            return None
        if set(facts.actions) == {Action.INSERT} and not changes.calls_code(facts):
            return None
        return self.footing(verdict)

    def prove(self, verdict: flow.Verdict, execution: Execution) -> None:
        """What is about to be executed, and was looked at before its names were looked up, runs
        only if that is so still. (A portal's names are looked up once.)
        """
        footing, portal = self._held(verdict), execution.portal
        if footing is None or len(verdict.facts.statements) != 1 or changes.fetches(verdict.facts):
            return
        if portal is not None and portal.proved and not footing.calls:
            return
        refusal = msgspec.structs.replace(told.catalog_moved({}), reference=execution.record_id)
        before = self._before(footing, portal)
        self._questions.prove(footing, *before, refusals.error_response(refusal), execution)

    def _seen_by_others(self, footing: Footing) -> Footing:
        """Without the session's own temporary relations."""
        lineage = self._state.judge.catalog.lineage
        own = self._state.settings.has_temporaries and self._state.still(footing)
        if not own or lineage is None:
            return footing
        return as_found(footing, cast(CatalogLineage, lineage))

    def knows(self, footing: Footing, looked_up: str) -> bool:
        """Whether the names mean nothing that bears them only since the catalog was judged. (A
        session's own temporary relations are looked at elsewhere.)"""
        if not looked_up or self._state.settings.has_temporaries:
            return True
        known = set(_OIDS.findall(footing.expected))
        meant = (oid for oid in looked_up.split(",") if oid != "-")
        return all(oid in known or int(oid) < FIRST_USER_OID for oid in meant)

    def bare(self) -> Footing | None:
        """None where nothing is looked up, and so nothing masked."""
        kept = cast("CatalogLineage | None", self._state.judge.catalog.kept)
        return None if kept is None or not kept.catalog.newest else bare(kept)

    def footing(self, verdict: flow.Verdict) -> Footing | None:
        """Of the text itself, and of what it names."""
        named = self._state.locks.named.footings(verdict)
        lineage = self._state.lineage if named else None
        if lineage is None:
            return verdict.footing
        return joined([*named, *filter(None, (verdict.footing,))], lineage)
