"""Teaches a session's hit path what the machine decided, says when it may act alone, and takes over
from it.

Kept by `state`; `from_client` and `from_upstream` teach, `machine` arms and takes over. Rules: only
what the machine itself sent, recorded and described is taught, or that of another session like this
one (`lessons`); what is taught holds under one epoch and is forgotten with it; the path is armed
only while nothing is under way and the session's settings are known.
"""

from collections.abc import Callable

from _speedups.hitcycle import Hit
from _speedups.pghits import HitPath
from appliance.audit.record import ProtocolKind
from appliance.model.principal import Principal
from appliance.session import changes, flow
from appliance.session.effects import Bytes
from appliance.session.hit_teaching import Teacher, is_settled, lockable, teachable
from appliance.session.inflight import Execution, Portal, Prepared, ResultLock
from appliance.session.lessons import Extended, Key, Lesson, Lessons, learner_of
from appliance.session.own_statements import STILL_NAME
from appliance.session.pace import SamplePace
from appliance.session.records import Recorder
from appliance.session.settings import SettingsTracker
from appliance.session.unchanged import Unchanged
from appliance.sql.footing import BACKSLASH, Footing
from appliance.sql.stamps import NO_POSITION
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

HELD = (
    m.close(m.STATEMENT, refusals.QUERY_NAME),
    refusals.QUERY_NAME,
    m.bind_unparameterised(refusals.QUERY_NAME, refusals.QUERY_NAME),
    m.describe(m.PORTAL, refusals.QUERY_NAME) + m.execute(refusals.QUERY_NAME) + m.SYNC_FRAME,
)
"""A Query in messages of the extended protocol, around its Parse and the proviso."""


def proviso_of(position: str, settings: str) -> bytes:
    """Asks whether the log still ends there and settings are as they were told, between the
    client's own Bind and Execute.
    """
    path, role, session = settings.rsplit("\n", 2)
    acting = session if role == "none" else role
    asked = (position.replace("-", "/"), path, acting, session)
    values = tuple(value.encode() for value in asked)
    return m.bind_texts(STILL_NAME, STILL_NAME, values) + m.execute(STILL_NAME)


class Hits(Teacher[HitPath]):
    """One session's."""

    def __init__(self, recorder: Recorder, unchanged: Unchanged, pace: SamplePace) -> None:
        super().__init__(recorder)
        self._pace = pace
        self._unchanged = unchanged
        self.want_lease: Callable[[], None] | None = None
        """Asks for `path.lease` to be held; None: it never is."""
        self.leased_at: Callable[[], str] = lambda: ""
        """On which server it is held, as `SettingsTracker.server`."""
        self.lessons: Lessons | None = None
        """Those of the sessions on this database; None: it is never held."""
        self.process = ""
        """What the upstream connection's login said that the server's process is called."""
        self.named = True
        """Whether statements have upstream the names that the client gave them."""
        self.reports_path = False
        """`SettingsTracker.reports_path`."""
        self._epoch = ("", "", "")
        self._proviso = ("", "", b"")
        self._shapes = 0

    # --- teaching ---------------------------------------------------------------------------------

    def query(
        self, text: bytes, verdict: flow.Verdict, folded: bytes | None, seen: bool
    ) -> Hit | None:
        if not self._knowable(text, verdict):
            return None
        return super().query(text, verdict, folded, seen)

    def parsed(self, prepared: Prepared, verdict: flow.Verdict) -> None:
        """A Parse of the unnamed statement was sent, of a text that came before."""
        text = prepared.text
        if self.path is None or prepared.name or not self._teachable(text, verdict):
            return
        if not self._knowable(text, verdict):
            return
        hit = self.path.exact.get(prepared.text)
        types = types_of(prepared)
        if hit is None or hit.verdict is not verdict or hit.types not in (None, types):
            hit = self._made(verdict, prepared.text)
            hit.key = Key(prepared.text, False)
            self._make_room()
            self.path.exact[prepared.text] = hit
        if hit.parse_tail is None:
            hit.types = types
            if verdict.rewritten:
                hit.parse = m.parse(b"", verdict.rewritten, prepared.parameter_types)
            hit.parse_tail = self._tail(ProtocolKind.PARSE, verdict, types=prepared.parameter_types)
        prepared.hit = hit
        hit.prepared = prepared

    def executed(self, portal: Portal, verdict: flow.Verdict) -> Hit | None:
        """An Execute of an unnamed portal was sent."""
        prepared = portal.prepared
        text = prepared.text
        if self.path is None or portal.name or portal.asked or not self._teachable(text, verdict):
            return None
        if not self._knowable(text, verdict) or (prepared.name and not self.named):
            return None
        hit = prepared.hit
        if hit is None or hit.verdict is not verdict:
            if hit is None and not prepared.name:
                return None
            hit = prepared.hit = self._made(verdict, prepared.text)
            hit.prepared = prepared
        if hit.execute_tail is None or hit.parameters != portal.parameters:
            hit.parameters = portal.parameters
            hit.execute_tail = self._tail(
                ProtocolKind.EXECUTE,
                verdict,
                prepared.name,
                portal.parameters,
                prepared.parameter_types,
            )
        self._locate(hit)
        return hit

    def _knowable(self, text: bytes, verdict: flow.Verdict) -> bool:
        """Whether nothing has to be asked behind it, either: the server itself says what code that
        it runs has set."""
        return provisory(text, verdict) and (self.reports_path or not verdict.code)

    @staticmethod
    def described(hit: Hit | None, frame: Bytes, lock: ResultLock | None) -> None:
        """What was sent earned this RowDescription, and this lock for it."""
        if hit is not None and lock is not None and lockable(hit, lock):
            hit.described(bytes(frame), lock.masker, lock.sensitive_columns, lock)

    def _teachable(self, text: bytes, verdict: flow.Verdict) -> bool:
        return bool(turns(text, verdict)) or teachable(verdict)

    def _asking(self, text: bytes) -> bytes:
        return m.query(text)

    def _made(self, verdict: flow.Verdict, key: bytes) -> Hit:
        hit = self._new(verdict, key)
        hit.repeatable = hit.provisional and changes.is_repeatable(verdict.facts)
        return hit

    def _new(self, verdict: flow.Verdict, key: bytes) -> Hit:
        bound = verdict.restricted or bool(verdict.sensitive)
        provisional = verdict.restricted and verdict.footing is not None
        hit = Hit(verdict, verdict.epoch, bound, provisional)  # its own, whatever was armed last
        hit.amid, hit.turns = not verdict.code, turns(key, verdict)
        hit.text = verdict.rewritten or None
        hit.dull = self._pace.dull_of((*self._recorder.whose, verdict.epoch, hash(key)))
        return hit

    def _locate(self, hit: Hit) -> None:
        footing: Footing | None = hit.verdict.footing
        position = NO_POSITION if footing is None else self._unchanged.position(footing)
        hit.position = None if position == NO_POSITION else position
        hit.leased = 0 if footing is None else self._unchanged.leased(footing)
        if self.want_lease is not None and hit.repeatable:
            self.want_lease()

    @property
    def leased(self) -> int:
        """`Lease.value`, where what is asked for now can be found out for as long as it lasts."""
        lease = None if self.path is None else self.path.lease
        return lease.value if lease is not None and lease.live() else 0

    @property
    def held(self) -> int:
        """`Lease.value`, which the path looks behind (`Lease.live`) when it makes use of it."""
        lease = None if self.path is None else self.path.lease
        return 0 if lease is None else lease.value

    def missed(self) -> None:
        """A statement that a lease would have spared a question asks it: the lease is wanted, also
        where nothing that is asked is known to the path."""
        if self.path is not None and self.path.lease is not None and self.want_lease is not None:
            self.path.lease.missed += 1
            self.want_lease()

    def moved(self, unchanged: Unchanged) -> None:
        """Another connection, with positions of its own."""
        self._unchanged = unchanged
        if self.path is not None:
            for hit in (*self.path.exact.values(), *self.path.alike.values()):
                if hit.provisional:
                    self._locate(hit)

    # --- other sessions ---------------------------------------------------------------------------

    def tell(
        self,
        hit: Hit,
        principal: Principal,
        settings: SettingsTracker,
        made_with: tuple[object, object],
    ) -> None:
        """It has run to its end: sessions like this one need not ask while the schema is held, nor,
        where nothing is masked and so nothing asked about, have their machines send it first."""
        key: Key | None = hit.key
        if self.lessons is None or key is None or hit.turns:
            return
        if hit.provisional and not self._found_here(hit, settings.server):
            return
        learner, extended = learner_of(principal, settings), extended_of(hit)
        if learner is None or (hit.query_tail is None and extended is None):
            return
        lesson = Lesson(
            verdict=hit.verdict,
            leased=hit.leased if hit.provisional else 0,
            brief=hit.brief,
            repeatable=hit.repeatable,
            locks=tuple((frame, lock) for frame, (_, _, lock, _) in hit.locks.items()),
            made_with=made_with,
            query_tail=hit.query_tail,
            query_tail_rest=hit.query_tail_rest,
            sent=hit.sent,
            extended=extended,
        )
        self.lessons.tell(learner, key, lesson)

    def _found_here(self, hit: Hit, server: str) -> bool:
        """Whether it was found as judged under the lease of now, on the server that this is of."""
        return bool(hit.leased) and hit.leased == self.held and server == self.leased_at() != ""

    def knows(self, key: Key) -> bool:
        assert self.path is not None
        return key.text in (self.path.alike if key.folded else self.path.exact)

    def learned(self, key: Key, text: bytes, verdict: flow.Verdict, lesson: Lesson) -> Hit | None:
        """Known as if this session's machine had sent `text`. None: it is not to be."""
        if self.path is None or not teachable(verdict) or not self._knowable(text, verdict):
            return None
        hit = self._new(verdict, key.text)
        hit.key, hit.repeatable = key, lesson.repeatable
        hit.leased, hit.brief = lesson.leased, lesson.brief
        hit.query_tail, hit.query_tail_rest = lesson.query_tail, lesson.query_tail_rest
        hit.sent = lesson.sent
        for frame, lock in lesson.locks:
            self.described(hit, frame, lock)
        self._make_room()
        (self.path.alike if key.folded else self.path.exact)[key.text] = hit
        return hit

    def learned_prepared(
        self, prepared: Prepared, verdict: flow.Verdict, lesson: Lesson
    ) -> Hit | None:
        """The same of a Parse of what has no name."""
        extended = lesson.extended
        if extended is None or extended.types != types_of(prepared):
            return None
        hit = self.learned(Key(prepared.text, False), prepared.text, verdict, lesson)
        if hit is not None:
            hit.types, hit.parameters, hit.parse, hit.parse_tail, hit.execute_tail = extended
            hit.prepared, prepared.hit = prepared, hit
        return hit

    # --- acting alone -----------------------------------------------------------------------------

    def arm(
        self,
        epoch: tuple[str, str, str],
        shapes: int,
        settings: str,
        prepared: bool,
        pinned: bool,
        direct: bool,
        opened: int | None,
        turns: bool,
    ) -> None:
        """The session is quiet. `shapes`: the catalog's count of schema changes; `settings` as told
        by the server; `prepared`: it holds STILL_NAME; `pinned` as in `SettingsTracker`,
        `direct`, `opened` and `turns` as in `HitPath.arm`.
        """
        assert self.path is not None
        self._shapes = shapes
        if epoch != self._epoch:
            self._epoch = epoch
        position = self._unchanged.last
        if not prepared or position == NO_POSITION:
            self.path.arm(self._epoch, None, None, pinned, direct, opened, turns)
            return
        if self._proviso[:2] != (position, settings):
            self._proviso = (position, settings, proviso_of(position, settings))
        self.path.arm(self._epoch, position, self._proviso[2], pinned, direct, opened, turns)

    # --- taking over ------------------------------------------------------------------------------

    def take_over(self) -> tuple[Execution, list[Expected]]:
        """The statement that is under way, and what is still due of its cycle. The path is idle
        afterwards.
        """
        path = self.path
        assert path is not None
        hit = path.hit
        assert hit is not None
        left, queried = path.steps_left.decode(), not path.extended
        held = queried and hit.provisional and not path.under
        prepared = hit.prepared
        if held:
            name = refusals.QUERY_NAME
            prepared = Prepared(name, hit.text or path.saved[5:-1], (), hit.verdict)
        portal = None
        if prepared is not None and (held or not queried):
            portal = self._portal(prepared, hit)
        execution = Execution(path.record_id.decode(), hit.verdict, path.started, portal)
        execution.shapes = self._shapes
        self._as_far_as_it_went(execution, portal)
        if queried and not held:  # its ReadyForQuery ends it
            due = [Expected(Kind.QUERY, execution)]
        else:
            due = [self._due(step, execution, portal, held) for step in left if step != "r"]
        path.hand_over()
        return execution, due

    def take_bound(self) -> Portal | None:
        """The unnamed portal as it is since the last call, if the path has bound it in the open
        transaction. Its rows are over.
        """
        path = self.path
        if path is None or path.bound is None:
            return None
        hit, path.bound = path.bound, None
        portal = self._portal(hit.prepared, hit)
        portal.described = False
        return portal

    def _portal(self, prepared: Prepared, hit: Hit) -> Portal:
        name = prepared.name if prepared.name == refusals.QUERY_NAME else b""
        portal = Portal(name, prepared, hit.parameters)
        portal.verdict = hit.verdict
        portal.described = True
        portal.shapes = self._shapes
        return portal

    def _as_far_as_it_went(self, execution: Execution, portal: Portal | None) -> None:
        path = self.path
        assert path is not None
        execution.rows, execution.bytes_out = path.rows, path.bytes_out
        execution.result_rows = path.rows
        execution.cells_masked = path.cells_masked
        execution.sensitive_unmasked = path.sensitive_unmasked
        if portal is not None:
            portal.rows = path.rows
        if path.tag:
            execution.tag = path.tag.decode()
            execution.statement_index = 1
        elif path.lock is not None:
            if portal is None:
                execution.lock = path.lock[2]
            else:
                portal.lock = path.lock[2]

    @staticmethod
    def _due(step: str, execution: Execution, portal: Portal | None, held: bool) -> Expected:
        within = execution if held else None
        match step:
            case "x":
                return Expected(Kind.CLOSE, injected=True)
            case "p" | "P":
                assert portal is not None
                return Expected(Kind.PARSE, portal.prepared, injected=step == "p", within=within)
            case "b" | "B":
                return Expected(Kind.BIND, portal, injected=step == "b", within=within)
            case "g":  # the proviso can only have failed: an answer would have been taken
                return Expected(Kind.BIND, portal, injected=True, within=execution)
            case "c":
                return Expected(Kind.EXECUTE, portal, injected=True, within=execution)
            case "t" | "T":
                assert portal is not None
                name = portal.name
                return Expected(
                    Kind.DESCRIBE_PORTAL, portal, name, injected=step == "t", within=within
                )
            case "E":
                return Expected(Kind.EXECUTE, execution)
            case _:
                return Expected(Kind.SYNC)


def types_of(prepared: Prepared) -> bytes:
    """As they stand in its Parse."""
    types = prepared.parameter_types
    return len(types).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in types)


def extended_of(hit: Hit) -> Extended | None:
    if hit.types is None or hit.parse_tail is None or hit.execute_tail is None:
        return None
    return Extended(hit.types, hit.parameters, hit.parse, hit.parse_tail, hit.execute_tail)


_OPEN, _NONE = ord("T"), ord("I")
_TURNS = {
    b"begin": _OPEN, b"begin work": _OPEN, b"begin transaction": _OPEN,
    b"start transaction": _OPEN,
    b"commit": _NONE, b"commit work": _NONE, b"commit transaction": _NONE, b"end": _NONE,
    b"rollback": _NONE, b"rollback work": _NONE, b"rollback transaction": _NONE, b"abort": _NONE,
}  # fmt: skip


def turns(text: bytes, verdict: flow.Verdict) -> int:
    """As `Hit.turns`: of texts that do nothing else, spelt as clients do."""
    status = _TURNS.get(text.strip(b"; \n").lower(), 0)
    return status if status and verdict.footing is None and is_settled(verdict) else 0


def provisory(text: bytes, verdict: flow.Verdict) -> bool:
    """Whether the proviso looks at all that it rests on. What a backslash means is a setting; what
    functions name is looked up as they run, behind it."""
    footing: Footing | None = verdict.footing
    late = footing is not None and footing.calls
    return not (verdict.restricted and (late or BACKSLASH in text))
