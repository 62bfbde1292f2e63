"""The hit path of PostgreSQL (see `hitpath`).

Taught and armed by `session/hits`. A *cycle* is what a client sends up to the point where it waits:
one Query, or [Parse] Bind [Describe] Execute Sync of unnamed portal, in one chunk, while nothing
else is under way. In a transaction of the client's nothing is asked: what is provisional runs there
under a lease that was held when the transaction began, from which on the server knows of all that
was changed before (whoever has a lock does not look again: lmgr.c, LockRelationOid).

Message formats: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memmove

from _speedups.auditwriter cimport ID_BYTES
from _speedups.growing cimport Output, must_add, shrink
from _speedups.hitcycle cimport TAG_BYTES_MAX, Count, Hit, HitLedger, Pace
from _speedups.hitpath cimport DONE, PASS, ROOM_KEPT, ROWS, SKIP, STOP, AnyHitPath
from _speedups.leases cimport Lease
from _speedups.pgcycle cimport (
    HEADER,
    INCOMPLETE,
    add_parse_frame,
    asks_again,
    is_tag,
    length_of,
    parameters_of,
    rows_of,
    same_frame,
    starts,
)
from _speedups.pgrows cimport RowMasker
from _speedups.sqlfolds cimport Folds
from _speedups.unnamed cimport Unnamed

cdef enum:
    CHUNK_BYTES_MAX = 8192
    CARRY_BYTES_MAX = 65536
    NAME_BYTES_MAX = 63

cdef bytes DESCRIBE_PORTAL = b"D\0\0\0\x06P\0"
cdef bytes EXECUTE_ALL = b"E\0\0\0\x09\0\0\0\0\0"
cdef bytes SYNC = b"S\0\0\0\x04"
cdef bytes PARSE_COMPLETE = b"1\0\0\0\x04"
cdef bytes PROVISO_ROW = b"D\0\0\0\x0b\0\1\0\0\0\1="
cdef bytes PROVISO_COMPLETE = b"C\0\0\0\x0dSELECT 1\0"
cdef bytes MOVED = b"E\0\0\0\x1aSERROR\0C42704\0Mmoved\0\0"

# What is due, in order; one letter each. Small: the client does not see it.
#   x CloseComplete  p P ParseComplete  b B BindComplete  g r c the proviso's BindComplete, row, end
#   t T RowDescription or NoData  E rows and CommandComplete of an Execute
#   Q RowDescription, rows, CommandComplete of a Query  Z ReadyForQuery
cdef const char* QUERY_STEPS = b"QZ"
cdef const char* HELD_STEPS = b"xpbgrcTEZ"
cdef list EXTENDED_STEPS = [
    opening + asked + described + b"EZ"
    for opening in (b"B", b"PB")
    for asked in (b"", b"grc")
    for described in (b"", b"T", b"t")
]


@cython.final
cdef class HitPath(AnyHitPath):
    """One session's. Idle, or one cycle is under way.

    `owner` is asked for more than `hitpath` says: `proviso_failed()`: the client's chunk (`saved`)
    is the machine's, nothing of it ran; `aside(kind, frame)`: what a notice or the like comes to for
    this client; `turned(opened)`: a transaction has begun, or None: has ended.
    """

    cdef Pace _pace
    cdef dict _confirmed
    cdef bytes _held_opening
    cdef bytes _held_name
    cdef bytes _held_bind
    cdef bytes _held_closing
    # Armed.
    cdef object _position
    cdef bytes _proviso
    cdef bint _pinned
    cdef bint _amid
    """A transaction of the client's is open."""
    cdef readonly unsigned long long opened
    """`Lease.value` in front of its beginning."""
    cdef bint _turns
    cdef Output _carry
    """A frame's beginning, until the rest comes."""
    cdef Folds _folds
    """From its first text with constants on."""
    cdef bint _recalled
    cdef bytes _name
    """A prepared statement, and what is known of it since `arm`; None = not looked up."""
    cdef Hit _named
    cdef public Lease lease
    """What nobody can change meanwhile; None = nothing is ever held here."""
    cdef readonly unsigned long long under
    """`Lease.value` before what is under way was sent; 0 = it is not sent under the lease."""
    cdef bint _drops
    """The lease was broken: nothing of the answer goes to the client."""
    cdef Py_ssize_t _dropping
    """Bytes of it that are to come of a frame."""
    cdef Hit _confirmed_unnamed
    """What `_confirmed` has for the unnamed statement since `arm`; None = not looked up."""
    cdef Unnamed _unnamed
    cdef readonly bint lost
    """The lease was broken, and the statement failed, in a transaction, which ends with it: what the
    machine gets is, in place of the error, one that says so (MOVED)."""
    cdef public Hit bound
    """What the unnamed portal is of in the open transaction, if it came by this path; None = not."""
    cdef bint _owes_parsed
    """The client is to be told of its Parse, which was spared, before the answer."""

    def __init__(
        self,
        HitLedger ledger not None,
        Count generation not None,
        Count sequence not None,
        Pace pace not None,
        dict confirmed not None,
        str session not None,
        tuple held not None,
        Py_ssize_t text_bytes_max,
    ):
        """`generation` moves with everything that decisions rest on and that is not the session's
        own. `held`: (what comes before the Parse of a Query that is sent in messages of the
        extended protocol, its statement's name, its Bind, what comes behind the proviso).
        """
        super().__init__(ledger, generation, sequence, session, text_bytes_max)
        self._pace = pace
        self._confirmed = confirmed
        self._held_opening, self._held_name, self._held_bind, self._held_closing = held
        self._unnamed = Unnamed()

    def __dealloc__(self):
        free(self._carry.bytes)

    def arm(
        self,
        tuple epoch not None,
        position,
        proviso,
        bint pinned,
        bint direct=False,
        opened=None,
        bint turns=False,
    ) -> None:
        """The session is quiet, and decisions hold that were made under `epoch`. `proviso`: the
        messages that ask whether the server's log still ends at `position`; None = unknown.
        `pinned`: only the session itself can change its settings; `direct`: nobody stands between
        here and the server's process. `opened`: `Lease.value` in front of the beginning of the
        transaction that is open; None = none is. `turns`: nothing hangs on its end, or on
        the beginning of one, but that it ends or begins.
        """
        self._amid = opened is not None
        self.opened, self._turns = opened or 0, turns
        self._unnamed.direct = direct
        self._position, self._proviso, self._pinned = position, proviso, pinned
        self._name = None
        self._confirmed_unnamed = None
        self.arm_under(epoch)

    # --- from the client --------------------------------------------------------------------------

    cdef bint take(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        if not self.armed or self._steps != NULL or not HEADER < size <= CHUNK_BYTES_MAX:
            return False
        if self._generation.value != self._seen:
            return False
        if at[0] == c"Q":
            return self._take_query(at, size, now)
        if at[0] == c"B" or at[0] == c"P":
            return self._take_extended(at, size, now)
        return False

    cdef bint _may(self, Hit hit):
        """Whether the hit holds now; where it is provisional, under the lease, or at the position
        that can be asked for."""
        self.under = 0
        if not self.holds(hit) or (self._amid and not hit.amid):
            return False
        if hit.turns:
            if not self._turns or self._amid == (hit.turns == c"T"):
                return False
            if not self._amid:
                self.opened = 0 if self.lease is None else self.lease.value
        if not hit.provisional:
            return True
        if self.lease is not None and self._pinned and hit.brief and hit.repeatable:
            if self.lease.value and hit.leased == self.lease.value:
                if not self._amid or self.opened == hit.leased:
                    self.under = hit.leased
                    return True
            self.lease.missed += 1
            if self.lease.value and hit.tried != self.lease.value:
                hit.tried = self.lease.value
                return False  # the machine finds out whether it is as judged under this one
        if self._amid or self._proviso is None or hit.position is None:
            return False
        if hit.position is not self._position:
            if hit.position != self._position:
                return False
            hit.position = self._position
        return True

    cdef Hit _recalled_text(self, const uint8_t* at, Py_ssize_t size):
        """What is known of a Query's text by its shape, or None; sets `_recalled`."""
        cdef bytes key = None
        if self._folds is not None:
            key = self._folds.recall(at, size)
        self._recalled = key is not None
        return <Hit>self.alike.get(key) if self._recalled else None

    cdef Hit _known_text(self, const uint8_t* at, Py_ssize_t size):
        """What else is known of it, or None."""
        cdef Py_ssize_t index
        cdef bytes key
        known = self.exact.get(PyBytes_FromStringAndSize(<const char*>at, size))
        if known is not None or self._recalled or not self.alike:
            return <Hit>known
        for index in range(size):
            if at[index] >= 128:
                return None
        if self._folds is None:
            self._folds = Folds()
        key = self._folds.key_of(at, size)
        known = self.alike.get(key)
        if known is not None:
            self._folds.keep(at, size, key)
        return <Hit>known

    cdef bint _take_query(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        cdef Hit hit
        cdef Py_ssize_t length = size - HEADER - 1
        cdef const uint8_t* text = at + HEADER
        if length_of(at, size) != size or at[size - 1] != 0 or length > self._text_bytes_max:
            return False
        if memchr(text, 0, length + 1) != at + size - 1:
            return False
        self._unnamed.forget()
        hit = self._recalled_text(text, length)
        if hit is None or hit.query_tail is None or not self._may(hit):
            hit = self._known_text(text, length)
            if hit is None or hit.query_tail is None or not self._may(hit):
                return False
        if not hit.turns and self._pace.claim(hit, now):
            return False
        self.begin(hit, at, size, now)
        self.extended = False
        self._drops = False
        self.decide_text(hit, text, length, now)
        if hit.provisional and not self.under:
            self._steps = HELD_STEPS
            self.put_bytes_of(self._held_opening)
            if hit.text is not None:
                text = <const uint8_t*>PyBytes_AS_STRING(hit.text)
                length = PyBytes_GET_SIZE(hit.text)
            add_parse_frame(&self._sent, self._held_name, text, <size_t>length)
            self.put_bytes_of(self._held_bind)
            self.put_bytes_of(self._proviso)
            self.put_bytes_of(self._held_closing)
        else:
            self._count_use()
            self._steps = QUERY_STEPS
            if hit.sent is not None:
                self.put_bytes_of(hit.sent)
        return True

    cdef Hit _prepared(self, const uint8_t* name, Py_ssize_t size):
        """What is known of a prepared statement, or None."""
        cdef bytes named
        if self._name is not None and size == PyBytes_GET_SIZE(self._name):
            if memcmp(name, PyBytes_AS_STRING(self._name), <size_t>size) == 0:
                return self._named
        named = PyBytes_FromStringAndSize(<const char*>name, size)
        prepared = self._confirmed.get(named)
        self._named = None if prepared is None else <Hit>prepared.hit
        self._name = named
        return self._named

    cdef bint _take_extended(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        cdef Py_ssize_t offset = 0
        cdef Py_ssize_t length
        cdef Py_ssize_t parse_end = 0
        cdef Py_ssize_t bound_end
        cdef const uint8_t* stop
        cdef Hit hit = None
        cdef bint parses = at[0] == c"P"
        cdef bint describes = False
        cdef bint describing
        cdef bint asks
        cdef bint spares
        cdef int parameters
        cdef uint8_t parse_id[ID_BYTES]
        if parses:
            hit = self._unnamed.of(at, size, now, self._written())
        spares = hit is not None
        if spares:
            offset = parse_end = self._unnamed.parse_bytes()
        elif parses:
            length = length_of(at, size)
            if not HEADER + 4 <= length < size or at[HEADER] != 0:
                return False
            stop = <const uint8_t*>memchr(at + HEADER + 1, 0, length - HEADER - 1)
            if stop == NULL:
                return False
            known = self.exact.get(
                PyBytes_FromStringAndSize(
                    <const char*>at + HEADER + 1, stop - (at + HEADER + 1)
                )
            )
            if known is None:
                return False
            hit = <Hit>known
            if hit.parse_tail is None or PyBytes_GET_SIZE(hit.types) != at + length - (stop + 1):
                return False
            if memcmp(PyBytes_AS_STRING(hit.types), stop + 1, PyBytes_GET_SIZE(hit.types)) != 0:
                return False
            offset = parse_end = length
        length = length_of(at + offset, size - offset)
        if not HEADER + 2 <= length <= size - offset:
            return False
        if at[offset] != c"B" or at[offset + HEADER] != 0:
            return False
        stop = <const uint8_t*>memchr(at + offset + HEADER + 1, 0, length - HEADER - 1)
        if stop == NULL or stop - (at + offset + HEADER + 1) > NAME_BYTES_MAX:
            return False
        parameters = parameters_of(stop + 1, at + offset + length)
        if parameters < 0:
            return False
        if not parses:
            hit = self._prepared(
                at + offset + HEADER + 1, stop - (at + offset + HEADER + 1)
            )
        elif stop != at + offset + HEADER + 1:  # it has a name
            return False
        if hit is None or hit.execute_tail is None or hit.parameters != parameters or not self._may(hit):
            return False
        offset = bound_end = offset + length
        if starts(at, size, offset, DESCRIBE_PORTAL):
            describes = True
            offset += PyBytes_GET_SIZE(DESCRIBE_PORTAL)
        if not starts(at, size, offset, EXECUTE_ALL):
            return False
        offset += PyBytes_GET_SIZE(EXECUTE_ALL)
        if not starts(at, size, offset, SYNC) or offset + PyBytes_GET_SIZE(SYNC) != size:
            return False
        spares = spares and self._unnamed.holds_under(self.under)
        if not hit.turns and self._pace.claim(hit, now):
            return False
        self.begin(hit, at, size, now)
        self.extended = True
        self._drops = False
        self._count_use()
        asks = hit.provisional and not self.under
        if parses:
            self.ledger.new_id(now, parse_id)
            self.decide(parse_id, now, hit.parse_tail)
        self.decide(self._record_id, now, hit.execute_tail)
        describing = hit.bound and not describes  # clients that skip Describe still get a lock
        self._steps = PyBytes_AS_STRING(
            <bytes>EXTENDED_STEPS[
                6 * parses + 3 * asks + (1 if describes else 2 if describing else 0)
            ]
        )
        if parses and not spares:
            self._unnamed.sent(hit, at, parse_end, self.under, now, self._written())
        elif spares:
            self._unnamed.used()
            self.ledger.parses_spared += 1
            self._step = 1
            self._confirm_unnamed()
        else:
            self._unnamed.forget()
        self._owes_parsed = spares
        if asks or describing or spares or (parses and hit.text is not None):
            self._put_pieces(at, size, parse_end, bound_end, asks, describing)
        return True

    cdef int _put_pieces(
        self,
        const uint8_t* at,
        Py_ssize_t size,
        Py_ssize_t parse_end,
        Py_ssize_t bound_end,
        bint asks,
        bint describing,
    ) except -1:
        """What goes upstream in place of the chunk. `parse_end`: 0 = there is no Parse."""
        if parse_end and not self._owes_parsed:
            if self.hit.text is None:
                self.put(at, parse_end)
            else:
                self.put_bytes_of(self.hit.parse)
        self.put(at + parse_end, bound_end - parse_end)
        if asks:
            self.put_bytes_of(self._proviso)
        if describing:
            self.put_bytes_of(DESCRIBE_PORTAL)
        return self.put(at + bound_end, size - bound_end)

    cdef int _confirm_unnamed(self) except -1:
        """The server has it."""
        if self.hit is not self._confirmed_unnamed:
            self._confirmed[b""] = self.hit.prepared
            self._confirmed_unnamed = self.hit
            self._name = None
        return 0

    cdef int _forget_unnamed(self) except -1:
        """Whether the server has it, or what it had before, is not known: the answer was dropped."""
        self._confirmed.pop(b"", None)
        self._confirmed_unnamed = self._name = self._named = None
        self._unnamed.forget()
        return 0

    cdef unsigned long long _written(self) noexcept:
        return 0 if self._upstream is None else self._upstream.written

    cdef void _count_use(self) noexcept:
        if self.under:
            self.lease.used += 1

    # --- from the database ------------------------------------------------------------------------

    cdef bint _still(self, uint8_t first):
        """Whether the schema was held from before what is under way was sent until it began. `first`:
        what came of the answer now begins with this byte."""
        cdef unsigned long long reading = 0
        if self._shows_begun(first):
            reading = self.ledger.reading
        return self.lease.value == self.under and self.lease.live_in(reading)

    cdef bint _shows_begun(self, uint8_t first) noexcept:
        """Whether a frame of this kind comes of nothing but a statement that has begun; and this is
        where a frame begins."""
        return not self._carry.length and (
            first == c"2" or first == c"T" or first == c"D" or first == c"C"
        )

    cdef bint follow(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        """Sets what the client gets now (`_gets`), and whether the cycle is `_done`, which remains to
        be told. -> whether the machine is to go on, with `_remainder`."""
        cdef const uint8_t* end
        cdef Py_ssize_t length
        cdef int became
        self._gets_bytes = 0
        self._done = self._got = False
        if self.under and self._in_question and not self._drops and not self._still(at[0]):
            self._drops = self._proviso_failed = True
            self._out.length = 0
            self._dropping = 0
        if self._owes_parsed and not self._unwritten:
            self._owes_parsed = False
            if not self._drops:
                must_add(&self._out, PyBytes_AS_STRING(PARSE_COMPLETE), HEADER)
        if self._drops and self._dropping:
            length = min(self._dropping, size)
            self._dropping -= length
            at, size = at + length, size - length
        if self._carry.length:
            must_add(&self._carry, at, <size_t>size)
            at, size = self._carry.bytes, <Py_ssize_t>self._carry.length
            self._carry.length = 0
        self._begin, end = at, at + size
        while at < end:
            length = length_of(at, end - at)
            if length < HEADER or length > end - at:
                if length == INCOMPLETE or length > end - at:
                    if length != INCOMPLETE and self._is_dropped(at[0]):
                        self._dropping = length - (end - at)
                        break
                    if self._in_question and end - at <= CARRY_BYTES_MAX:
                        return self._wait_for_more(at, end)
                became = STOP
            else:
                became = self._reply(at, length, end, now)
            if became == PASS:
                at += length
            elif became == SKIP:
                self.keep(at)
                at += length
                self._begin = at
            elif became == ROWS:  # a run of rows was masked, or passes
                at = self._run_end
            else:
                if became == STOP:
                    self._require_begun(at[0])
                if became == DONE:
                    self._done = True
                    at += length
                    if at == end:
                        self.get(at)
                        return False
                self.get(at)  # nothing is due behind it, or it is not what is due
                self._remainder = PyBytes_FromStringAndSize(<const char*>at, end - at)
                if self.lost:
                    self._remainder = MOVED + self._remainder
                return True
        if self._in_question:
            self.keep(at)
        else:
            self.get(at)
        return False

    cdef bint _is_dropped(self, uint8_t kind) noexcept:
        """Whether a frame of an answer to a broken lease is: what is not about the statement stays."""
        return self._drops and not (kind == c"S" or kind == c"A" or kind == c"Z")

    cdef int _require_begun(self, uint8_t kind) except -1:
        """The machine is to go on, which takes the statement for one that began while the schema was
        held. Nothing but its result and its errors show that, while they are not to be dropped."""
        if self.under and self._in_question and (self._drops or kind in (c"N", c"S", c"A")):
            raise ValueError("an answer that cannot be followed")
        return 0

    cdef bint _wait_for_more(self, const uint8_t* at, const uint8_t* end) except -1:
        self.keep(at)
        if self._carry.bytes != NULL and self._carry.bytes <= at < self._carry.bytes + (
            self._carry.room
        ):  # what is carried already moves to the front of what it is in
            memmove(self._carry.bytes, at, <size_t>(end - at))
            self._carry.length = <size_t>(end - at)
        else:
            must_add(&self._carry, at, <size_t>(end - at))
        return False

    cdef const uint8_t* _run_end

    cdef void rest(self) noexcept:
        self._owes_parsed = self.lost = False
        AnyHitPath.rest(self)

    cdef void sent_to_client(self) noexcept:
        AnyHitPath.sent_to_client(self)
        if not self._carry.length:
            shrink(&self._carry, ROOM_KEPT)

    cdef int _aside(self, const uint8_t* at, Py_ssize_t length) except -1:
        """What a notice or the like comes to, in its place."""
        cdef bytes shown = self.asked().aside(
            at[0], PyBytes_FromStringAndSize(<const char*>at, length)
        )
        self.keep(at)
        return must_add(&self._out, PyBytes_AS_STRING(shown), <size_t>PyBytes_GET_SIZE(shown))

    cdef int _reply(
        self, const uint8_t* at, Py_ssize_t length, const uint8_t* end, double now
    ) except -1:
        """One whole frame against what is due."""
        cdef char step = self._steps[self._step]
        cdef uint8_t kind = at[0]
        if self._proviso_failed:
            return self._after_proviso(at, length)
        if self._in_question and (kind == c"N" or kind == c"S" or kind == c"A"):
            self._aside(at, length)
            return SKIP
        if self.under and step == c"Q":
            self._in_question = False  # it has begun, and holds what it uses
        if step == c"B" or step == c"b" or step == c"g":
            if kind == c"2" and length == HEADER:
                self._step += 1
                if self.under:
                    self._in_question = False
                return PASS if step == c"B" else SKIP
        elif step == c"r":
            if same_frame(at, length, PROVISO_ROW):
                self._step += 1
                return SKIP
        elif step == c"c":
            if same_frame(at, length, PROVISO_COMPLETE):
                self._step += 1
                self._in_question = False
                return SKIP
        elif step == c"T" or step == c"t":
            if kind == c"n" and length == HEADER:
                self._step += 1
                return PASS if step == c"T" else SKIP
            if kind == c"T" and self._describe(at, length):
                self._step += 1
                return PASS if step == c"T" else SKIP
        elif step == c"E" or step == c"Q":
            if kind == c"D":
                return self._rows(at, end)
            if kind == c"C":
                return self._complete(at, length, now)
            if kind == c"T" and step == c"Q" and not self._described and not self.rows:
                return PASS if self._describe(at, length) else STOP
        elif step == c"Z":
            if self._ready(at, length):
                self._unnamed.cycle_over()
                if self.hit.turns:
                    self._amid, self.bound = not self._amid, None
                if self._amid and self.extended:
                    self.bound = self.hit
                return DONE
        elif step == c"P" or step == c"p":
            if kind == c"1" and length == HEADER:
                self._step += 1
                if step == c"P":
                    self._confirm_unnamed()
                return PASS if step == c"P" else SKIP
        elif step == c"x":
            if kind == c"3" and length == HEADER:
                self._step += 1
                return SKIP
        if self._in_question and kind == c"E" and not self._amid and asks_again(step, at, length):
            self._proviso_failed = True  # (a transaction has failed, and the schema was held)
            self._out.length = 0
            return SKIP
        return STOP

    cdef int _after_proviso(self, const uint8_t* at, Py_ssize_t length) except -1:
        """The database skips everything up to Sync; or it ran, and is run again."""
        if self._ready(at, length):
            return DONE
        if self._amid and at[0] == c"Z" and length == HEADER + 1 and at[HEADER] == c"E":
            self._forget_unnamed()
            self._proviso_failed = self._drops = self._in_question = False
            self._begin = at
            self.lost = True
            return STOP
        if self._is_dropped(at[0]):
            return SKIP
        if at[0] == c"N" or at[0] == c"S" or at[0] == c"A":
            self._aside(at, length)
            return SKIP
        return STOP

    cdef bint _ready(self, const uint8_t* at, Py_ssize_t length) noexcept:
        """Whether all is over, and nothing but what was due has come of it."""
        cdef int status = self.hit.turns or (c"T" if self._amid else c"I")
        return at[0] == c"Z" and length == HEADER + 1 and at[HEADER] == status

    cdef bint _describe(self, const uint8_t* at, Py_ssize_t length) except -1:
        if self._generation.value != self._seen:
            return False  # the schema may have changed since it was judged: the machine tells
        if self.hit.bound:
            self.lock = self.hit.lock_of(at, <size_t>length)
            if self.lock is None:
                return False
            self._masker = self.lock[0]
            self._sensitive = <unsigned long long>self.lock[1]
        self._described = True
        return True

    cdef int _rows(self, const uint8_t* at, const uint8_t* end) except -1:
        """A run of whole DataRows."""
        cdef const uint8_t* begin = at
        cdef Py_ssize_t count
        cdef unsigned long long before
        cdef size_t kept
        if self.hit.bound and self.lock is None:
            return STOP
        count = rows_of(begin, end, &at)
        self.sensitive_unmasked += <unsigned long long>count * self._sensitive
        if self._masker is not None:
            self.keep(begin)
            before, kept = (<RowMasker>self._masker).cells_masked, self._out.length
            (<RowMasker>self._masker).mask_into(begin, <size_t>(at - begin), count, &self._out)
            self.cells_masked += (<RowMasker>self._masker).cells_masked - before
            self.bytes_out += self._out.length - kept
            self._begin = at
        else:
            self.bytes_out += <unsigned long long>(at - begin)
        self.rows += <unsigned long long>count
        self._run_end = at
        return ROWS

    cdef int _complete(self, const uint8_t* at, Py_ssize_t length, double now) except -1:
        if length > HEADER + 1 + TAG_BYTES_MAX or not is_tag(at, length):
            return STOP
        self._tag_bytes = <size_t>(length - HEADER - 1)
        memcpy(self._tag, at + HEADER, self._tag_bytes)
        self._step += 1
        if self._steps[self._step - 1] == c"E":  # a Query ends when all is ready
            self.finish_record(now)
        return PASS

    cdef bint finish_cycle(self, double now) except -1:
        cdef bint turned = self.hit.turns != 0
        if self._proviso_failed:
            self.withhold_record(now)
            self._proviso = None
            saved = self.saved
            if saved[:1] == b"P":
                self._forget_unnamed()
            self.rest()
            self._proviso_failed = False
            self.asked().proviso_failed(saved)
            return False
        AnyHitPath.finish_cycle(self, now)
        if turned:
            self.asked().turned(self.opened if self._amid else None)
        return True
