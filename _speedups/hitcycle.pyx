"""What is known of a statement that was decided before, and one of its executions, with its records.

Used by `hitpath`, and by what follows the messages of a protocol on top of it; taught by
`session/hits` and `session/exchange_hits`. Rule: records as `audit/record` has them, field by field;
`tests/unit/session/test_hits.py` reads them back.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from _speedups.auditchain cimport AROUND, RAW, ChainEnd, end_brief, put_line
from _speedups.auditrecords cimport (
    DIGEST_DIGITS,
    TAG_BYTES_MAX,
    Decision,
    Finish,
    put_brief_decided,
    put_brief_finished,
    put_decided,
    put_finished,
)
from _speedups.auditwriter cimport ID_BYTES, LINE_ROOM, micros_of, put, room_for, write_hex
from _speedups.growing cimport Output, must_add, shrink
from _speedups.sha256 cimport digest

cdef enum:
    STAMP_BYTES = 6
    ENTROPY_BYTES = 10
    IDS_AT_ONCE = 256
    TOLD_MAX = 8
    ROOM_KEPT = 1 << 16

cdef double DULL_SECONDS = 0.25
cdef double BRIEF_SECONDS = 1.0
cdef double ASKED_SECONDS = 10.0


@cython.final
cdef class Count:
    """An integer that Python and the hit path both count in: `value`."""


cdef class Pace:
    """When the machine is wanted for a statement, though it is known: the base of
    `session/pace.SamplePace`.

    `due`: unix seconds, infinite = never. `seconds`: one statement is the machine's, of whatever
    session, and then none for so long, as long as it stays due; `claimed`: until then.
    """

    cdef bint claim(self, Hit hit, double now) noexcept:
        """Whether a statement that comes now is the one for the machine."""
        if self.due > now or self.claimed > now or hit.dull.until > now:
            return False
        self.claimed = now + self.seconds
        hit.dull.until = now + DULL_SECONDS
        return True


@cython.final
cdef class Dull:
    """`until` (unix seconds) no rows of some kind of statement are worth looking at."""


@cython.final
cdef class Told:
    """What is the same for every record of one kind of a hit: `tail` and its SHA-256, `query_tail`
    where texts differ; and where it was written whole last: line `seq` of `segment` (as
    `auditchain.ChainEnd` counts them), at `micros` (Unix time); 0 = nowhere.
    """


@cython.final
cdef class Hit:
    """What is known of one text in one session, under one epoch. Made by `session/hits`.

    - `verdict`, `epoch`; `prepared`: the session's Prepared of this text, where it was parsed; `key`:
      of a Query, as in `session/lessons`.
    - `query_tail`, `parse_tail`, `execute_tail`: what a decided record has behind its sequence
      number, by how the statement comes; None = not to be taken that way. With `query_tail_rest`
      the SHA-256 of the text, and its length, stand between the two.
    - `types`: parameter types as in the Parse message, count included; `parameters`: how many a
      Bind must have.
    - `text`: what is sent in place of the text, masked at the source (None = the text itself);
      `sent`, `parse`: the Query and the Parse with it.
    - `bound`: rows pass only under a lock that was taught for their description, in `locks`:
      its description -> (masker or None, sensitive columns, the ResultLock, what the client is
      shown in its place or None).
    - `provisional`: it rests on the catalog; the database is asked, before it runs, whether that still
      holds. `position`: where the server's log ended when what it rests on was found as judged;
      None = not known.
    - `lease`: what has to be held from before it is sent until its result is described, or None.
    - `leased`: the `Lease.value` under which a provisional one was found as judged, 0 = none; `tried`:
      that for which it was left to the machine, to be found so; `repeatable`: it may run twice;
      `brief`: it may well be over before anybody wants the lease; see `took`.
    - `amid`: it leaves nothing for what follows in a transaction; `turns`: it begins or ends one (the
      status behind it, T or I; 0 = neither).
    - `words`: what becomes of the words of the database, which can be asked for again: they may quote
      masked cells (1), they are wiped (2), they stay as they are (0).
    - `dull`: its own, or what it shares with others of its kind.
    """

    def __init__(self, object verdict, tuple epoch, bint bound, bint provisional):
        self.verdict = verdict
        self.epoch = epoch
        self.bound = bound
        self.provisional = provisional
        self.dull = Dull()
        self.locks = {}
        self._told = {}

    cpdef void took(self, double seconds, bint asked) noexcept:
        """It has run. `asked`: with our questions, which cost more than most statements: where many
        ask, those take them long, which must not be why they go on asking."""
        self.brief = seconds <= (ASKED_SECONDS if asked else BRIEF_SECONDS)

    cdef Told told_of(self, bytes tail):
        """Of one of the tails: its digest is the same for every execution, so made once."""
        cdef Told told = self._told_last
        if told is not None and told.tail is tail:
            return told
        told = <Told>self._told.get(tail)
        if told is None:
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            told = Told()
            told.tail = tail
            digest(<const uint8_t*>PyBytes_AS_STRING(tail), <size_t>len(tail), told.digest)
            self._told[tail] = told
        self._told_last = told
        return told

    def described(
        self, bytes frame not None, masker, unsigned long long columns, lock, bytes shown=None
    ) -> None:
        """Rows behind this description come under `lock`. `shown`: what the client gets in its
        place, if that is not the same."""
        self.locks[frame] = (masker, columns, lock, shown)
        self._description = self._lock = None

    cdef tuple lock_of(self, const uint8_t* frame, size_t length):
        """As in `locks`; None: it was taught for no such description."""
        cdef bytes described
        if self._description is not None and length == <size_t>PyBytes_GET_SIZE(self._description):
            if memcmp(frame, PyBytes_AS_STRING(self._description), length) == 0:
                return self._lock
        described = PyBytes_FromStringAndSize(<const char*>frame, <Py_ssize_t>length)
        found = self.locks.get(described)
        if found is not None:
            self._description, self._lock = described, <tuple>found
        return <tuple>found


@cython.final
cdef class HitLedger:
    """What the hit paths of a worker hand over: cycles that wait for their records to be written,
    records that were written of none yet, and sums for the metrics.

    `wake` is called when the first cycle of a round waits, `wake_later` when a finished record does
    that no poller is going to write, for the first time since `woken`; `entropy(count)` gives
    random bytes.

    `within`: a `chunks.Poller` is serving, and settles the round itself when that is `wanted`, and
    calls `flush` soon: what is written may be held in the journal until then, and what has finished;
    `reading`: the number of what it reads now, which it was told of before, and nothing was sent
    since; 0 = that is not so;
    `turns`: the round holds turns of machines, which come first; `stirred`: something was done that the event loop may have to go on with.
    """

    def __init__(self, wake, wake_later, entropy, tuple bounds):
        cdef int index
        if len(bounds) != BOUNDS:
            raise ValueError("another number of bounds")
        self.due = []
        self._wake, self._wake_later, self._entropy = wake, wake_later, entropy
        self._pool = b""
        for index in range(BOUNDS):
            self._bounds[index] = bounds[index]
        for index in range(BOUNDS + 1):
            self._counts[index] = 0

    def __dealloc__(self):
        free(self._finished.bytes)
        free(self._whole.bytes)

    @property
    def finished(self) -> list:
        """Encoded records that wait for the next write of any kind."""
        cdef list found = []
        cdef const uint8_t* at = self._finished.bytes
        cdef const uint8_t* end = at + self._finished.length
        cdef Finish finish
        while at < end:
            memcpy(&finish, at, sizeof(Finish))
            self._whole.length = 0
            room_for(&self._whole, finish.opening_bytes)
            put_finished(&self._whole, &finish, at + sizeof(Finish))
            found.append(
                PyBytes_FromStringAndSize(
                    <const char*>self._whole.bytes, <Py_ssize_t>self._whole.length
                )
            )
            at += sizeof(Finish) + finish.opening_bytes
        return found

    def write_to(self, ChainEnd end not None, unwritten) -> None:
        """Where `write_due` writes. `unwritten(errno, finished, refused)`: these could not be written,
        nor the records of cycles that wait (`refused`: there were any)."""
        self._end, self._unwritten = end, unwritten

    cpdef bint write_due(self) except -1:
        """Records the cycles that wait and forwards them, or refuses them. False: not while
        something is in the way; they wait."""
        cdef Cycle cycle
        cdef list due
        cdef int number
        if self._end is None or not self._end.open():
            return not self.due
        if not self.due:
            return True
        due, self.due = self.due, []
        try:
            number = self._append(due)
        except Exception as error:  # nothing of it is written
            for each in due:
                (<Cycle>each).broken(error)
            return True
        if number:
            finished = self.take_finished()
            self._unwritten(number, finished, True)
        for each in due:
            cycle = <Cycle>each
            try:
                if cycle._unwritten and number:
                    cycle.unrecorded()
                elif cycle._unwritten:
                    cycle.send()
            except Exception as error:  # one session's failure is not another's
                cycle.broken(error)
        return True

    cdef int flush(self, bint over) except -1:
        """What has finished is written, too; see `ChainEnd.flush`."""
        try:
            if self._finished_count:
                self._write_finished()
        finally:
            if self._end is not None:
                self._end.flush(over)
        return 0

    cdef int _write_finished(self) except -1:
        cdef int number
        if self._end is None or not self._end.open():
            self._ask_to_be_woken()
            return 0
        try:
            number = self._append([])
        except BaseException:
            self._ask_to_be_woken()
            raise
        if number:
            finished = self.take_finished()
            self._unwritten(number, finished, False)
        return 0

    cdef int _append(self, list due) except -1:
        """What has finished and what these cycles have decided, in one write. -> 0, or an errno;
        then nothing of it is written."""
        cdef ChainEnd end = self._end
        cdef Cycle cycle
        cdef uint8_t last[RAW]
        cdef unsigned long long seq = end.seq + self._finished_count
        cdef size_t room = self._finished.length + self._finished_count * (AROUND + LINE_ROOM)
        cdef uint8_t* at
        cdef int line
        cdef int number
        for each in due:
            room += (<Cycle>each).lines_room()
        at = end.begin(room)
        end.head_into(last)
        try:
            at = self._put_finished(at, last)
            for each in due:
                cycle = <Cycle>each
                for line in range(cycle._line_count):
                    seq += 1
                    at = self._put_decided(at, last, seq, cycle, line)
                if cycle._line_count:
                    cycle._decided_seq, cycle._decided_segment = seq, end.segment
        except BaseException:
            end.segment += 1  # what was put is in no file
            raise
        number = end.write(at, seq - end.seq, last, self.within)
        if not number:
            self._forget_finished()
        return number

    cdef uint8_t* _put_finished(self, uint8_t* at, uint8_t* last) except NULL:
        """Lines of all that has finished. -> their end."""
        cdef const uint8_t* each = self._finished.bytes
        cdef const uint8_t* stop = each + self._finished.length
        cdef unsigned long long seq = self._end.seq
        cdef Finish finish
        cdef Output out
        while each < stop:
            seq += 1
            memcpy(&finish, each, sizeof(Finish))
            each += sizeof(Finish)
            if (
                finish.seq
                and finish.completed
                and not finish.backwards
                and finish.segment == self._end.segment
                and seq - finish.seq <= self._end.reach
            ):
                out.bytes, out.length = at, 0
                put_brief_finished(&out, &finish, seq)
                at = end_brief(at, at + out.length, last)
            else:
                self._whole.length = 0
                room_for(&self._whole, finish.opening_bytes)
                put_finished(&self._whole, &finish, each)
                at = put_line(
                    at, seq, last, self._whole.bytes, self._whole.length, NULL, 0, NULL
                )
            each += finish.opening_bytes
        return at

    cdef uint8_t* _put_decided(
        self, uint8_t* at, uint8_t* last, unsigned long long seq, Cycle cycle, int line
    ) except NULL:
        """The line `seq` of a cycle: brief, where it was written whole not long ago. -> its end."""
        cdef ChainEnd end = self._end
        cdef Decision* decision = &cycle._decided[line]
        cdef Told told = cycle.hit.told_of(cycle.tail_of(line))
        cdef Output out
        if (
            told.segment == end.segment
            and told.seq
            and seq - told.seq <= end.reach
            and told.micros <= decision.micros
            and told.query_tail is cycle._query_tail
        ):
            out.bytes, out.length = at, 0
            put_brief_decided(&out, decision, seq, told.seq, told.micros)
            return end_brief(at, at + out.length, last)
        self._whole.length = 0
        cycle.write_whole(line, &self._whole)
        told.segment, told.seq, told.micros = end.segment, seq, decision.micros
        told.query_tail = cycle._query_tail
        return put_line(
            at,
            seq,
            last,
            self._whole.bytes,
            self._whole.length,
            PyBytes_AS_STRING(told.tail),
            <size_t>PyBytes_GET_SIZE(told.tail),
            told.digest,
        )

    cdef void _forget_finished(self) noexcept:
        self._finished.length = self._finished_count = 0
        shrink(&self._finished, ROOM_KEPT)

    def take_due(self) -> list:
        """The cycles that wait; they are the caller's to record and to `forward` or to `drop`."""
        due, self.due = self.due, []
        return due

    def woken(self) -> None:
        """What `wake_later` asked for has come: ask again when there is something."""
        self._waking = False

    def take_finished(self) -> list:
        finished = self.finished
        self._forget_finished()
        return finished

    def take_sums(self) -> dict:
        """What came since the last call."""
        cdef int index
        sums = {
            "statements": self.statements,
            "running": self.running,
            "rows": self.rows,
            "cells_masked": self.cells_masked,
            "sensitive_unmasked": self.sensitive_unmasked,
            "parses_spared": self.parses_spared,
            "bytes_to_client": self.bytes_to_client,
            "bytes_to_upstream": self.bytes_to_upstream,
            "seconds": self._seconds,
            "counts": [self._counts[index] for index in range(BOUNDS + 1)],
        }
        self.statements = self.rows = 0
        self.running = 0
        self.cells_masked = self.sensitive_unmasked = self.parses_spared = 0
        self.bytes_to_client = self.bytes_to_upstream = 0
        self._seconds = 0.0
        for index in range(BOUNDS + 1):
            self._counts[index] = 0
        return sums

    cdef void observe(self, double seconds) noexcept:
        cdef int index = 0
        while index < BOUNDS and seconds > self._bounds[index]:
            index += 1
        self._counts[index] += 1
        self._seconds += seconds

    cdef int new_id(self, double now, uint8_t* out) except -1:
        """As `audit.record.new_id`: ID_BYTES."""
        cdef unsigned long long milliseconds = micros_of(now) // 1000
        cdef uint8_t raw[STAMP_BYTES + ENTROPY_BYTES]
        cdef int index
        if self._used + ENTROPY_BYTES > PyBytes_GET_SIZE(self._pool):
            self._pool, self._used = self._entropy(IDS_AT_ONCE * ENTROPY_BYTES), 0
        for index in range(STAMP_BYTES):
            raw[index] = <uint8_t>(milliseconds >> 8 * (STAMP_BYTES - 1 - index))
        memcpy(raw + STAMP_BYTES, PyBytes_AS_STRING(self._pool) + self._used, ENTROPY_BYTES)
        write_hex(out, raw, STAMP_BYTES + ENTROPY_BYTES)
        self._used += ENTROPY_BYTES
        return 0

    cdef int put_due(self, Cycle cycle) except -1:
        self.due.append(cycle)
        if self.within:
            self.wanted = True
        elif len(self.due) == 1:
            self._wake()
        return 0

    cdef int has_finished(self) except -1:
        """A finished record is there."""
        self._finished_count += 1
        if not self.within:
            self._ask_to_be_woken()
        return 0

    cdef int _ask_to_be_woken(self) except -1:
        if not self._waking:
            self._waking = True
            self._wake_later()
        return 0


cdef class Cycle:
    """One statement on its way: what is due, its records, its sums.

    `hit`: what was known of it; `saved`: the client's chunk; `extended`: it came as Bind and Execute;
    `lines`: its decided records, encoded as `auditchain.chain` takes them, which are written before
    anything is forwarded (then None); `record_id`, `started` (unix seconds), `rows`, `bytes_out`,
    `cells_masked`, `sensitive_unmasked`, `tag` as in `session/inflight.Execution`; `lock`: as in `Hit.locks`, of the rows that are due, None before they are described.
    `total_*`: sums of the session.
    """

    def __init__(self, HitLedger ledger not None, Count sequence not None, str session not None):
        self.ledger = ledger
        self._sequence = sequence
        self._opening = b',"session":"%b","sequence":' % session.encode()
        self._finish_opening = b',"session":"%b","decided":"' % session.encode()

    def __dealloc__(self):
        free(self._saved.bytes)
        free(self._sent.bytes)

    @property
    def underway(self) -> bool:
        return self._steps != NULL

    @property
    def unsent(self) -> bool:
        """Under way, and its records are not written yet."""
        return self._steps != NULL and self._unwritten

    @property
    def in_question(self) -> bool:
        """The database has not said yet whether what the statement rests on still holds."""
        return self._steps != NULL and self._in_question

    @property
    def steps_left(self) -> bytes:
        """What is still due; see the letters of the protocol's path."""
        return b"" if self._steps == NULL else <bytes>(self._steps + self._step)

    @property
    def saved(self) -> bytes:
        return PyBytes_FromStringAndSize(
            <const char*>self._saved.bytes, <Py_ssize_t>self._saved.length
        )

    @property
    def record_id(self) -> bytes:
        return PyBytes_FromStringAndSize(<const char*>self._record_id, ID_BYTES)

    @property
    def tag(self) -> bytes:
        return PyBytes_FromStringAndSize(<const char*>self._tag, <Py_ssize_t>self._tag_bytes)

    @property
    def lines(self) -> list | None:
        cdef list found = []
        cdef Output* whole = &self.ledger._whole
        cdef int line
        cdef Told told
        if not self._unwritten:
            return None
        for line in range(self._line_count):
            told = self.hit.told_of(self.tail_of(line))
            whole.length = 0
            self.write_whole(line, whole)
            varies = PyBytes_FromStringAndSize(<const char*>whole.bytes, <Py_ssize_t>whole.length)
            digest = PyBytes_FromStringAndSize(<const char*>told.digest, RAW)
            found.append((varies, told.tail, digest))
        return found

    cdef bytes tail_of(self, int line):
        return self._parse_tail if line + 1 < self._line_count else self._tail

    cdef size_t lines_room(self) noexcept:
        """Bytes that its lines have at most."""
        cdef size_t room
        if not self._line_count:
            return 0
        room = self._whole_room() + AROUND
        room *= <size_t>self._line_count
        room += <size_t>PyBytes_GET_SIZE(self._tail)
        if self._line_count > 1:
            room += <size_t>PyBytes_GET_SIZE(self._parse_tail)
        return room

    cdef size_t _whole_room(self) noexcept:
        """Of what `write_whole` writes at most, but for LINE_ROOM."""
        cdef size_t room = <size_t>PyBytes_GET_SIZE(self._opening) + DIGEST_DIGITS + LINE_ROOM
        if self._query_tail is not None:
            room += <size_t>PyBytes_GET_SIZE(self._query_tail)
        return room

    cdef int begin(self, Hit hit, const uint8_t* at, Py_ssize_t size, double now) except -1:
        self._saved.length = self._sent.length = 0
        must_add(&self._saved, at, <size_t>size)
        self.ledger.new_id(now, self._record_id)
        self.hit = hit
        self.started = now
        self.rows = self.bytes_out = self.cells_masked = self.sensitive_unmasked = 0
        self._tag_bytes = 0
        self._line_count = 0
        self._decided_seq = 0
        self._unwritten = True
        self.lock = None
        self._masker = None
        self._sensitive = 0
        self._described = False
        self._step = 0
        self._in_question = hit.provisional
        self._proviso_failed = False
        self._finished = False
        return 0

    cdef Decision* decide(self, const uint8_t* record_id, double now, bytes tail) except NULL:
        """A decided record with this tail; where its text is its own, the caller adds that."""
        cdef Decision* decision = &self._decided[self._line_count]
        self._sequence.value += 1
        memcpy(decision.id, record_id, ID_BYTES)
        decision.micros = micros_of(now)
        decision.sequence = self._sequence.value
        decision.own_text = False
        self._line_count += 1
        self._tail, self._parse_tail = tail, self._tail
        return decision

    cdef int write_whole(self, int line, Output* out) except -1:
        """A decided record, up to where its tail begins."""
        room_for(out, self._whole_room())
        put_decided(out, &self._decided[line], self._opening, self._query_tail)
        return 0

    def send_recorded(self) -> None:
        """To be called when `lines` are written, if that was not by `write_due`."""
        if self._unwritten:
            self.send()

    cdef int send(self) except -1:
        """Its records are written; see `hitpath`."""
        return 0

    cdef int unrecorded(self) except -1:
        """Its records cannot be written; see `hitpath`."""
        return 0

    # --- once the records are written -------------------------------------------------------------

    cdef Output* forwarded(self) noexcept:
        """What goes upstream now; its records are written."""
        cdef Output* sent = &self._sent if self._sent.length else &self._saved
        self._unwritten = False
        self.ledger.reading = 0
        self.ledger.statements += 1
        self.ledger.running += 1
        self.ledger.bytes_to_upstream += sent.length
        return sent

    def forward(self) -> bytes:
        """What goes upstream; to be called when `lines` are written."""
        cdef Output* sent = self.forwarded()
        return PyBytes_FromStringAndSize(<const char*>sent.bytes, <Py_ssize_t>sent.length)

    def offer(self, bytes chunk not None) -> bool:
        """What the client sent while there was no upstream. -> whether it is done with."""
        return self.received(
            False, <const uint8_t*>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk)
        )

    def drop(self) -> bytes:
        """The records could not be written: nothing of this cycle happened. -> the client's
        chunk."""
        cdef bytes saved = self.saved
        self._sequence.value -= <unsigned long long>self._line_count
        self._unwritten = False
        self.rest()
        return saved

    def hand_over(self) -> None:
        """The cycle is the machine's from here on, which has taken over what is known of it."""
        if not self._finished:
            self.add_up()
        self.rest()

    cdef void rest(self) noexcept:
        self._steps = NULL
        self._unwritten = False
        self._line_count = 0
        self.hit = None
        self.lock = None
        self._masker = None
        self._parse_tail = self._tail = self._query_tail = None

    # --- chunks ---------------------------------------------------------------------------------

    cdef bint received(self, bint from_upstream, const uint8_t* at, Py_ssize_t size) except -1:
        """Whether a chunk is done with; see `hitpath`."""
        return False

    cdef int broken(self, object error) except -1:
        """A chunk could not be dealt with: whatever it is, both sides end."""
        raise error

    # --- its end ----------------------------------------------------------------------------------

    cdef int finish_record(self, double now) except -1:
        cdef HitLedger ledger = self.ledger
        cdef double seconds = now - self.started
        self._finished = True
        self.put_finished(now, True)
        ledger.running -= 1
        ledger.rows += self.rows
        ledger.cells_masked += self.cells_masked
        ledger.sensitive_unmasked += self.sensitive_unmasked
        ledger.observe(seconds)
        self.hit.took(seconds, False)
        self.add_up()
        return 0

    cdef void add_up(self) noexcept:
        self.total_rows += self.rows
        self.total_bytes_out += self.bytes_out
        self.total_cells_masked += self.cells_masked
        self.total_sensitive_unmasked += self.sensitive_unmasked

    cdef int withhold_record(self, double now) except -1:
        """It was recorded as let through, and did not run after all."""
        self.put_finished(now, False)
        self.ledger.running -= 1
        return 0

    cdef int put_finished(self, double now, bint completed) except -1:
        cdef Output* out = &self.ledger._finished
        cdef unsigned long long begun = micros_of(self.started)
        cdef Finish finish
        cdef size_t opening = <size_t>PyBytes_GET_SIZE(self._finish_opening)
        room_for(out, sizeof(Finish) + opening)
        finish.seq, finish.segment = self._decided_seq, self._decided_segment
        memcpy(finish.decided, self._record_id, ID_BYTES)
        finish.micros = micros_of(now)
        finish.backwards = finish.micros < begun
        finish.after = 0 if finish.backwards else finish.micros - begun
        finish.completed = completed
        finish.rows, finish.bytes_out = self.rows, self.bytes_out
        finish.cells_masked = self.cells_masked
        finish.sensitive_unmasked = self.sensitive_unmasked
        memcpy(finish.tag, self._tag, self._tag_bytes)
        finish.tag_bytes = self._tag_bytes
        finish.opening_bytes = opening
        put(out, &finish, sizeof(Finish))
        put(out, PyBytes_AS_STRING(self._finish_opening), opening)
        return self.ledger.has_finished()
