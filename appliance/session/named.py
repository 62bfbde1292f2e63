"""Plans of what SQL itself names: PREPARE / EXECUTE and DECLARE / FETCH.

Kept by `session/machine`, asked by `session/results`. Rule: the result of EXECUTE and FETCH is
governed by the plan of the statement that was prepared or declared, made under the same policy and
catalog; a name we have no such plan for gives no rows to a principal who owes masks.
"""

from collections.abc import Callable, Mapping

from appliance.masking.plan import MaskPlan
from appliance.model.catalog import ColumnKey
from appliance.model.decision import Decision, Mask
from appliance.model.errors import Refused
from appliance.model.facts import Facts, StatementFacts
from appliance.model.refusal import Refusal, RefusalCode
from appliance.model.spare import EMPTY
from appliance.session import changes, told
from appliance.session.flow import Verdict
from appliance.sql.footing import Footing

NAMED_MAX = 4_096

Epoch = tuple[str, str, str]
Naming = tuple[tuple[str, ...], str, bool]
Owed = Mapping[ColumnKey, Mask]
ProtocolNames = Callable[[str, str, bool], Verdict | None]
"""(space, name, now) -> what a statement or portal made by a protocol message was judged to be."""


class NamedPlans:
    """Name -> (plan, the epoch it was made in), for prepared statements and for cursors."""

    __slots__ = ("_anew", "_facts", "_footings", "_namings", "_plans", "protocol", "still")

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str], tuple[MaskPlan, Epoch, Owed]] = {}
        self._namings: dict[tuple[str, str], Naming | None] = {}
        """None: made in a text that may have changed it before."""
        self._footings: dict[tuple[str, str], Footing | None] = {}
        self.still: Callable[[Footing], bool] | None = None
        """Whether the present catalog has all that a plan rests on as it was."""
        self.protocol: ProtocolNames | None = None
        self._facts: dict[tuple[str, str], StatementFacts] = {}
        self._anew: frozenset[tuple[str, str]] = EMPTY
        """Of these, what is decided each time it runs."""

    def executed(self, name: str) -> StatementFacts | None:
        """What SQL EXECUTE of this name runs, as far as we saw it prepared."""
        protocol = None if self.protocol is None else self.protocol("statement", name, False)
        if protocol is not None and len(protocol.facts.statements) == 1:
            return protocol.facts.statements[0]
        return self._facts.get(("statement", name)) if ("statement", name) in self._plans else None

    def unasked(self, facts: Facts) -> Refusal | None:
        """Why SQL's EXECUTE may not run what it names: that is decided each time it runs, with its
        values and by the hour, and perhaps held; nobody would be asked about an EXECUTE."""
        for statement in facts.statements:
            use = statement.prepared
            if use is None or use.verb != "execute":
                continue
            found = None if self.protocol is None else self.protocol("statement", use.name, False)
            anew = found is not None and _decided_anew(found)
            if anew or ("statement", use.name) in self._anew:
                return told.executes_unasked()
        return None

    def bound(self, name: str) -> tuple[Facts, Decision] | None:
        """What a protocol's portal of this name runs."""
        portal = None if self.protocol is None else self.protocol("cursor", name, False)
        return None if portal is None else (portal.facts, portal.decision)

    def completed(self, verdict: Verdict, index: int) -> None:
        """Statement `index` of a text completed: notes what it named or let go."""
        if index >= len(verdict.plans):
            return
        plan, use = verdict.plans[index], verdict.facts.statements[index].prepared
        if use is None:
            return
        space, name = _space(use.verb), use.name
        match use.verb:
            case "prepare" | "declare":
                if len(self._plans) < NAMED_MAX or (space, name) in self._plans:
                    self._plans[space, name] = (plan, verdict.epoch, verdict.decision.owed)
                    self._footings[space, name] = verdict.footing
                    self._facts[space, name] = verdict.facts.statements[index]
                    self._anew -= {(space, name)}
                    if _decided_anew(verdict):
                        self._anew |= {(space, name)}
                    settled = changes.settled_before(verdict.facts, index)
                    self._namings[space, name] = verdict.naming if settled else None
            case "deallocate" | "close" if name:
                self._plans.pop((space, name), None)
            case "deallocate" | "close":
                self._plans = {k: v for k, v in self._plans.items() if k[0] != space}
            case _:
                return

    def resolve(self, plan: MaskPlan, verdict: Verdict, *, now: bool = True) -> MaskPlan:
        """`plan`, or for EXECUTE and FETCH the plan of what they name: now, as the upstream's
        replies say, or to a message that is sent next. Raises Refused, also when the masks that
        hold now are not those that held when it was named (what it computes with was fixed then).
        """
        if plan.prepared is None or plan.prepared.verb not in ("execute", "fetch"):
            return plan
        space, name = _space(plan.prepared.verb), plan.prepared.name
        protocol = None if self.protocol is None else self.protocol(space, name, now)
        naming: Naming | None
        if protocol is not None and len(protocol.plans) == 1:
            known, epoch, owed = protocol.plans[0], protocol.epoch, protocol.decision.owed
            rests, naming = protocol.footing, protocol.naming
        elif (found := self._plans.get((space, name))) is not None:
            known, epoch, owed = found
            rests, naming = self._footings.get((space, name)), self._namings.get((space, name))
        else:
            raise Refused(unknown_name(space))
        current = epoch[:2] == verdict.epoch[:2] or (
            epoch[0] == verdict.epoch[0]
            and rests is not None
            and self.still is not None
            and self.still(rests)
        )
        if not current or known.unrestricted:  # (who owed no mask then, does now)
            raise Refused(unknown_name(space))
        if space == "statement" and naming != verdict.naming:
            raise Refused(other_names())
        if naming is not None and naming[-1] != verdict.naming[-1]:
            raise Refused(unknown_name(space))  # raw cells would be converted, or fail to be
        if owed is not verdict.decision.owed and owed != verdict.decision.owed:
            raise Refused(unknown_name(space))
        return known

    def footings(self, verdict: Verdict) -> list[Footing]:
        """What the statements rest on that its EXECUTEs run. What a cursor reads is locked since it
        was declared, but for functions: these are looked at when FETCH runs them.
        """
        found = []
        for statement in verdict.facts.statements:
            use = statement.prepared
            if use is None or use.verb not in ("execute", "fetch"):
                continue
            space = _space(use.verb)
            known = None if self.protocol is None else self.protocol(space, use.name, False)
            rests = known.footing if known else self._footings.get((space, use.name))
            if rests is not None and (use.verb == "execute" or rests.calls):
                found.append(rests)
        return found

    def require(self, verdict: Verdict) -> Refusal | None:
        """Before anything is forwarded: whether every EXECUTE and FETCH in it can be resolved."""
        for index, plan in enumerate(verdict.plans):
            try:
                known = self.resolve(plan, verdict, now=False)
            except Refused as refused:
                return refused.refusal
            if plan.kind == "CreateTableAsStmt" and known.masks_any:
                return stored_unmasked()
            if _executes(verdict, index) and not changes.settled_before(verdict.facts, index):
                return other_names()
        return None

    def outdated(self, verdict: Verdict) -> Refusal | None:
        """For whoever owes no mask: what was named under another policy is not run under this one.
        A name we never saw (a function declared it) passes, as long as we would remember it.
        """
        for index, statement in enumerate(verdict.facts.statements):
            use = statement.prepared
            if use is None or use.verb not in ("execute", "fetch"):
                continue
            space = _space(use.verb)
            found = None if self.protocol is None else self.protocol(space, use.name, False)
            known = self._plans.get((space, use.name))
            epoch = found.epoch if found is not None else None if known is None else known[1]
            forgotten = epoch is None and len(self._plans) >= NAMED_MAX
            if forgotten or (epoch is not None and epoch[0] != verdict.epoch[0]):
                return unknown_name(space)
            if use.verb == "execute" and epoch is not None:
                naming = found.naming if found else self._namings.get((space, use.name))
                settled = changes.settled_before(verdict.facts, index, executed=False)
                if naming != verdict.naming or not settled:
                    return other_names()
        return None


def _decided_anew(verdict: Verdict) -> bool:
    """Whether a verdict on one execution is none on the next."""
    held, asked = verdict.released is not None, verdict.sweeping is not None
    return held or asked or verdict.granted is not None or not verdict.decision.cacheable


def _space(verb: str) -> str:
    return "statement" if verb in ("prepare", "execute", "deallocate") else "cursor"


def _executes(verdict: Verdict, index: int) -> bool:
    use = verdict.facts.statements[index].prepared
    return use is not None and use.verb == "execute"


def other_names() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "search_path or role is not what it was when this was prepared, or may not be: the names in"
        " it could mean other relations now",
        "PREPARE it again under the present search_path, or set search_path back",
        rule="builtin:named-statement",
        sqlstate="26000",
    )


def stored_unmasked() -> Refusal:
    """CREATE TABLE AS EXECUTE of what is masked on its way to the client only."""
    return Refusal(
        RefusalCode.MASKED_COLUMN_USED,
        "what this statement gives is masked for you on its way here, and would be stored as it is",
        "say CREATE TABLE ... AS SELECT: what it stores is masked",
        rule="builtin:named-statement",
    )


def unknown_name(space: str) -> Refusal:
    """With the SQLSTATE that a server gives for a name it does not know."""
    cursor = space == "cursor"
    return Refusal(
        RefusalCode.STALE,
        f"what this {space} stands for is not known under the present policy and catalog",
        f"{'DECLARE' if cursor else 'PREPARE'} it again, as a statement of its own",
        rule="builtin:named-statement",
        sqlstate="34000" if cursor else "26000",
    )
