"""The hit path, as far as it is the same for every protocol: one whole cycle of a statement whose
decision is known, without a step in Python.

`pghits` and `myhits` follow the messages of their protocols on top of it. Driven by the two ends of
a session's connections (`Chunks`, the base of `dataplane/transport.Side`); taught and armed by
`session/hits` and `session/exchange_hits`. Rules: a chunk that is not exactly a cycle, or not of a
statement that was taught under the very epoch, is left to the machine; whatever the database
answers that is not exactly what such a cycle earns is handed over to the machine, with all that is
known of the cycle. The machine is what this is held against in tests.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free

from _speedups.auditchain cimport hash_into
from _speedups.auditrecords cimport Decision
from _speedups.chunks cimport Chunks, wall_clock
from _speedups.growing cimport Output, must_add, shrink
from _speedups.hitcycle cimport Count, Cycle, Hit, HitLedger


cdef class AnyHitPath(Cycle):
    """One session's. Idle, or one cycle is under way.

    `owner` (`dataplane/hitting`) is asked for what this cannot do: `fall_back(rest)`: the rest of
    the database's answer is the machine's; `behind(chunk)`: the client sent more meanwhile;
    `catch_up()`: what it sent can be looked at now; `unrecorded()`: the client's chunk (`saved`) is
    the machine's, nothing of it ran; `settled()`: a cycle ended that somebody waits for;
    `cut(error)`.

    - `exact`: text -> Hit; `alike`: text without constants at which nothing looked -> Hit.
    - `crowded`: the client sent more behind a cycle of which it is not known yet whether it runs.
    - `closed`: never armed again: the session is to end.
    - `_out`: what the client gets of the database's answer, as far as it was not sent; `_begin`:
      where what it gets as it is begins; `_gets`: what it gets now, of `_out` or of the chunk itself.
    """

    def __init__(
        self,
        HitLedger ledger not None,
        Count generation not None,
        Count sequence not None,
        str session not None,
        Py_ssize_t text_bytes_max,
    ):
        """`generation` moves with everything that decisions rest on and that is not the session's
        own.
        """
        super().__init__(ledger, sequence, session)
        self._generation = generation
        self._text_bytes_max = text_bytes_max
        self.exact = {}
        self.alike = {}

    def __dealloc__(self):
        free(self._out.bytes)

    def attach(self, Chunks client not None, Chunks upstream not None) -> None:
        """From here on both ends offer their chunks here first."""
        self._client, self._upstream = client, upstream
        client.path, client.from_upstream = self, False
        upstream.path, upstream.from_upstream = self, True
        upstream.count_written()

    def leave_upstream(self) -> None:
        """Until `attach`, the client alone offers chunks here."""
        self.armed = False
        if self._upstream is not None:
            self._upstream.path = self._upstream = None

    def detach(self) -> None:
        self.closed = True
        self.leave_upstream()
        if self._client is not None:
            self._client.path = None

    cdef int arm_under(self, tuple epoch) except -1:
        """The session is quiet, and decisions hold that were made under `epoch`."""
        if self.closed:
            return 0
        if epoch is not self.epoch:
            if epoch != self.epoch:
                self.epoch = epoch
                self.exact.clear()
                self.alike.clear()
        self._seen = self._generation.value
        self.armed = True
        return 0

    def disarm(self) -> None:
        """Until it is armed, every chunk is the machine's."""
        self.armed = False

    cdef bint holds(self, Hit hit) except -1:
        """Whether the hit is of this epoch."""
        if hit.epoch is not self.epoch:
            if hit.epoch != self.epoch:
                return False
            hit.epoch = self.epoch  # the same object is sooner seen to be equal
        return True

    cdef int decide_text(
        self, Hit hit, const uint8_t* text, Py_ssize_t length, double now
    ) except -1:
        """The record of a text that came as such."""
        cdef Decision* decision
        if hit.query_tail_rest is None:
            self.decide(self._record_id, now, hit.query_tail)
            return 0
        decision = self.decide(self._record_id, now, hit.query_tail_rest)
        self._query_tail = hit.query_tail
        decision.own_text = True
        hash_into(text, <size_t>length, decision.text_digest)
        decision.text_bytes = <unsigned long long>length
        return 0

    # --- for tests --------------------------------------------------------------------------------

    def client(self, bytes chunk not None, double now) -> bool:
        """Whether this chunk is taken. For tests; connections use `received`."""
        return self.take(
            <const uint8_t*>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk), now
        )

    def upstream(self, bytes chunk not None, double now) -> tuple:
        """-> (what the client gets, rest that is the machine's or None). For tests; connections use
        `received`."""
        cdef bint rest = self.follow(
            <const uint8_t*>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk), now
        )
        out = PyBytes_FromStringAndSize(<const char*>self._gets, self._gets_bytes)
        self.sent_to_client()
        if self._done and self.finish_cycle(now) and (self.closed or self.telling):
            self.asked().settled()
        return out, (self._remainder if rest else None)

    # --- of each protocol -------------------------------------------------------------------------

    cdef bint take(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        """Whether the client's chunk is a cycle that is known; then it has begun."""
        return False

    cdef bint follow(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        """Sets what the client gets now (`_gets`), and whether the cycle is `_done`, which remains to
        be told. -> whether the machine is to go on, with `_remainder`."""
        return False

    cdef bint finish_cycle(self, double now) except -1:
        """What is done is recorded. -> whether it is over: False where it begins anew."""
        if not self._finished:
            self.finish_record(now)
        self.rest()
        return True

    # --- pieces -----------------------------------------------------------------------------------

    cdef int put(self, const void* piece, Py_ssize_t size) except -1:
        """Behind what else goes upstream."""
        return must_add(&self._sent, piece, <size_t>size)

    cdef int put_bytes_of(self, bytes piece) except -1:
        return self.put(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))

    cdef int keep(self, const uint8_t* at) except -1:
        """For the client, but not now: what came between `_begin` and here."""
        if self._begin < at and not self._proviso_failed:
            must_add(&self._out, self._begin, <size_t>(at - self._begin))
        self._begin = at
        return 0

    cdef int get(self, const uint8_t* at) except -1:
        """For the client, now: all that was kept, and what came between `_begin` and here."""
        self._got = True
        if not self._out.length and not self._proviso_failed:
            self._gets, self._gets_bytes = self._begin, at - self._begin
        else:
            self.keep(at)
            self._gets, self._gets_bytes = self._out.bytes, <Py_ssize_t>self._out.length
        self.ledger.bytes_to_client += <unsigned long long>self._gets_bytes
        return 0

    cdef void sent_to_client(self) noexcept:
        if self._got:
            self._out.length = 0
            shrink(&self._out, ROOM_KEPT)

    # --- connections ------------------------------------------------------------------------------

    cdef int send(self) except -1:
        cdef Output* sent = self.forwarded()
        self._upstream._put_raw(sent.bytes, <Py_ssize_t>sent.length)
        return 0

    cdef int unrecorded(self) except -1:
        self.asked().unrecorded(self.drop())
        return 0

    cdef object asked(self):
        """The owner, who may have things done that wait for the event loop."""
        self.ledger.stirred = True
        return self.owner

    cdef int broken(self, object error) except -1:
        self.asked().cut(error)
        return 0

    cdef bint received(self, bint from_upstream, const uint8_t* at, Py_ssize_t size) except -1:
        """Whether a chunk is done with."""
        cdef bint rest
        cdef bint over = False
        cdef double now
        if not from_upstream:
            if self._steps != NULL:
                self.asked().behind(PyBytes_FromStringAndSize(<const char*>at, size))
                return True
            if not self.armed or self._upstream is None or self._upstream.writing_paused:
                return False
            if not self.take(at, size, wall_clock()):
                return False
            self.ledger.put_due(self)
            return True
        if self._steps == NULL:
            return False
        now = wall_clock()
        rest = self.follow(at, size, now)
        if self._gets_bytes:
            self._client._put_raw(self._gets, self._gets_bytes)
        self.sent_to_client()
        if self._done:
            over = self.finish_cycle(now)
        if rest:
            self.asked().fall_back(self._remainder)
        if over and (self.closed or self.telling):  # only now: the connection may become another's
            self.asked().settled()
        if self.crowded and not self.in_question:
            self.asked().catch_up()
        return True
