"""What is known of a statement that was decided before, and one of its executions, with its records.

Used by `pghits`, which follows the messages; taught by `session/hits`. Rule: records as
`audit/record` has them, field by field; `tests/unit/session/test_hits.py` reads them back.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport uint8_t

from _speedups.auditchain cimport ChainEnd, hash_raw
from _speedups.auditwriter cimport (
    LINE_ROOM,
    Writer,
    begin_writing,
    put,
    put_decimal,
    put_field,
    put_integer,
    put_time,
    written,
)

cdef enum:
    ID_BYTES = 32
    ENTROPY_BYTES = 10
    IDS_AT_ONCE = 256
    DIGESTS_MAX = 8

cdef const char* HEX = b"0123456789abcdef"


@cython.final
cdef class Count:
    """An integer that Python and the hit path both count in: `value`."""


cdef class Pace:
    """When the machine is wanted for a statement, though it is known: the base of
    `session/pace.SamplePace`.

    `due`: unix seconds, infinite = never. `seconds`: one statement is the machine's, of whatever
    session, and then none for so long, as long as it stays due; `claimed`: until then.
    """

    cdef bint claim(self, double now):
        """Whether a statement that comes now is the one for the machine."""
        if self.due > now or self.claimed > now:
            return False
        self.claimed = now + self.seconds
        return True


@cython.final
cdef class Hit:
    """What is known of one text in one session, under one epoch. Made by `session/hits`.

    - `verdict`, `epoch`; `prepared`: the session's Prepared of this text, where it was parsed.
    - `query_tail`, `parse_tail`, `execute_tail`: what a decided record has behind its sequence
      number, by how the statement comes; None = not to be taken that way. With `query_tail_rest`
      the SHA-256 of the text, and its length, stand between the two.
    - `types`: parameter types as in the Parse message, count included; `parameters`: how many a
      Bind must have.
    - `text`: what is sent in place of the text, masked at the source (None = the text itself);
      `sent`, `parse`: the Query and the Parse with it.
    - `bound`: rows pass only under a lock that was taught for their description, in `locks`:
      RowDescription frame -> (masker or None, sensitive columns, the ResultLock).
    - `provisional`: it rests on the catalog; the database is asked, before it runs, whether that still
      holds. `position`: where the server's log ended when what it rests on was found as judged;
      None = not known.
    """

    def __init__(self, object verdict, tuple epoch, bint bound, bint provisional):
        self.verdict = verdict
        self.epoch = epoch
        self.bound = bound
        self.provisional = provisional
        self.locks = {}
        self._digests = {}

    cdef bytes digest_of(self, bytes tail):
        """SHA-256 of one of the tails: the same for every execution, so made once."""
        cdef object found = self._digests.get(tail)  # (bytes know their own hash)
        cdef bytes made
        if found is not None:
            return <bytes>found
        if len(self._digests) >= DIGESTS_MAX:
            self._digests.clear()
        made = PyBytes_FromStringAndSize(NULL, 32)
        hash_raw(
            <const uint8_t*>PyBytes_AS_STRING(tail),
            <size_t>PyBytes_GET_SIZE(tail),
            <uint8_t*>PyBytes_AS_STRING(made),
        )
        self._digests[tail] = made
        return made


@cython.final
cdef class HitLedger:
    """What the hit paths of a worker hand over: cycles that wait for their records to be written,
    records that were written of none yet, and sums for the metrics.

    `wake` is called when the first cycle of a round waits, `wake_later` when a finished record does
    for the first time since `woken`; `entropy(count)` gives random bytes.

    `within`: a `chunks.Poller` is serving, and settles the round itself when that is `wanted`;
    `turns`: the round holds turns of machines, which come first; `stirred`: something was done that the event loop may have to go on with.
    """


    def __init__(self, wake, wake_later, entropy, tuple bounds):
        cdef int index
        if len(bounds) != BOUNDS:
            raise ValueError("another number of bounds")
        self.due = []
        self.finished = []
        self._wake, self._wake_later, self._entropy = wake, wake_later, entropy
        self._pool = b""
        for index in range(BOUNDS):
            self._bounds[index] = bounds[index]
        for index in range(BOUNDS + 1):
            self._counts[index] = 0

    def write_to(self, ChainEnd end not None, unwritten) -> None:
        """Where `write_due` writes. `unwritten(errno, finished)`: the records of cycles that wait
        could not be written, nor these."""
        self._end, self._unwritten = end, unwritten

    cpdef bint write_due(self) except -1:
        """Records the cycles that wait and forwards them, or refuses them. False: not while
        something is in the way; they wait."""
        cdef Cycle cycle
        cdef list due
        cdef list records
        cdef list finished
        cdef int number
        if self._end is None or not self._end.open():
            return not self.due
        if not self.due:
            return True
        due, self.due = self.due, []
        finished, self.finished = self.finished, []
        records = finished.copy()
        for each in due:
            records += (<Cycle>each).lines
        number = self._end.append(records)
        if number:
            self._unwritten(number, finished)
        for each in due:
            cycle = <Cycle>each
            if cycle.lines is not None:
                if number:
                    cycle.unrecorded()
                else:
                    cycle.send()
        return True

    def take_due(self) -> list:
        """The cycles that wait; they are the caller's to record and to `forward` or to `drop`."""
        due, self.due = self.due, []
        return due

    def woken(self) -> None:
        """What `wake_later` asked for has come: ask again when there is something."""
        self._waking = False

    def take_finished(self) -> list:
        finished, self.finished = self.finished, []
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
            "bytes_to_client": self.bytes_to_client,
            "bytes_to_upstream": self.bytes_to_upstream,
            "seconds": self._seconds,
            "counts": [self._counts[index] for index in range(BOUNDS + 1)],
        }
        self.statements = self.rows = 0
        self.running = 0
        self.cells_masked = self.sensitive_unmasked = 0
        self.bytes_to_client = self.bytes_to_upstream = 0
        self._seconds = 0.0
        for index in range(BOUNDS + 1):
            self._counts[index] = 0
        return sums

    cdef int observe(self, double seconds) except -1:
        cdef int index = 0
        while index < BOUNDS and seconds > self._bounds[index]:
            index += 1
        self._counts[index] += 1
        self._seconds += seconds
        return 0

    cdef bytes new_id(self, double now):
        """As `audit.record.new_id`."""
        cdef char text[ID_BYTES]
        cdef unsigned long long milliseconds = <unsigned long long>(now * 1000)
        cdef const uint8_t* entropy
        cdef int index
        if self._used + ENTROPY_BYTES > PyBytes_GET_SIZE(self._pool):
            self._pool, self._used = self._entropy(IDS_AT_ONCE * ENTROPY_BYTES), 0
        entropy = <const uint8_t*>PyBytes_AS_STRING(self._pool) + self._used
        self._used += ENTROPY_BYTES
        for index in range(11, -1, -1):
            text[index] = HEX[milliseconds & 15]
            milliseconds >>= 4
        for index in range(ENTROPY_BYTES):
            text[12 + 2 * index] = HEX[entropy[index] >> 4]
            text[13 + 2 * index] = HEX[entropy[index] & 15]
        return PyBytes_FromStringAndSize(text, ID_BYTES)

    cdef int put_due(self, Cycle cycle) except -1:
        self.due.append(cycle)
        if self.within:
            self.wanted = True
        elif len(self.due) == 1:
            self._wake()
        return 0

    cdef int put_finished(self, bytes line) except -1:
        self.finished.append(line)
        if not self._waking:
            self._waking = True
            self._wake_later()
        return 0


cdef class Cycle:
    """One statement on its way: what is due, its records, its sums.

    `hit`: what was known of it; `saved`: the client's chunk; `extended`: it came as Bind and Execute;
    `lines`: its decided records, encoded as `auditchain.chain` takes them, which are written before anything is forwarded (then
    None); `record_id`, `started` (unix seconds), `rows`, `bytes_out`, `cells_masked`,
    `sensitive_unmasked`, `tag` as in `session/inflight.Execution`; `lock`: (masker, sensitive
    columns, ResultLock) of the rows that are due, None before they are described. `total_*`: sums of
    the session.
    """

    def __init__(self, HitLedger ledger not None, Count sequence not None, str session not None):
        self.ledger = ledger
        self._sequence = sequence
        self._opening = b',"session":"%b","sequence":' % session.encode()
        self._finish_opening = b',"session":"%b","decided":"' % session.encode()

    @property
    def underway(self) -> bool:
        return self._steps is not None

    @property
    def unsent(self) -> bool:
        """Under way, and its records are not written yet."""
        return self._steps is not None and self.lines is not None

    @property
    def in_question(self) -> bool:
        """The database has not said yet whether what the statement rests on still holds."""
        return self._steps is not None and self._in_question

    @property
    def steps_left(self) -> bytes:
        """What is still due; see the letters above."""
        return b"" if self._steps is None else self._steps[self._step :]

    cdef int begin(self, Hit hit, const uint8_t* at, Py_ssize_t size, double now) except -1:
        self.hit = hit
        self.saved = PyBytes_FromStringAndSize(<const char*>at, size)
        self.started = now
        self.record_id = self.ledger.new_id(now)
        self.rows = self.bytes_out = self.cells_masked = self.sensitive_unmasked = 0
        self.tag = b""
        self.lock = None
        self._described = False
        self._step = 0
        self._in_question = hit.provisional
        self._proviso_failed = False
        self._finished = False
        return 0

    cdef object decided(self, bytes record_id, double now, bytes before, bytes tail):
        """-> (what varies, the tail, its digest). `before`: what stands before the tail and is not
        the same for every execution."""
        cdef Writer out
        self._sequence.value += 1
        begin_writing(
            &out, PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(self._opening) + LINE_ROOM
        )
        put(&out, b'"event":"statement_decided","id":"')
        put(&out, record_id)
        put(&out, b'","time":')
        put_time(&out, now)
        put(&out, self._opening)
        put_integer(&out, self._sequence.value)
        put(&out, before)
        return written(&out), tail, self.hit.digest_of(tail)

    def send_recorded(self) -> None:
        """To be called when `lines` are written, if that was not by `write_due`."""
        if self.lines is not None:
            self.send()

    cdef int send(self) except -1:
        """Its records are written; see `pghits`."""
        return 0

    cdef int unrecorded(self) except -1:
        """Its records cannot be written; see `pghits`."""
        return 0

    # --- once the records are written -------------------------------------------------------------

    def forward(self) -> bytes:
        """What goes upstream; to be called when `lines` are written."""
        cdef bytes sent = self._sent
        self.lines = None
        self._sent = None
        self.ledger.statements += 1
        self.ledger.running += 1
        self.ledger.bytes_to_upstream += <unsigned long long>PyBytes_GET_SIZE(sent)
        return sent

    def drop(self) -> bytes:
        """The records could not be written: nothing of this cycle happened. -> the client's
        chunk."""
        cdef bytes saved = self.saved
        self._sequence.value -= <unsigned long long>len(self.lines)
        self.lines = None
        self._sent = None
        self.rest()
        return saved

    def hand_over(self) -> None:
        """The cycle is the machine's from here on, which has taken over what is known of it."""
        if not self._finished:
            self.add_up()
        self.rest()

    cdef int rest(self) except -1:
        self._steps = None
        self.hit = None
        self.saved = None
        self.lock = None
        return 0

    # --- chunks ---------------------------------------------------------------------------------

    cdef bint received(self, bint from_upstream, const uint8_t* at, Py_ssize_t size) except -1:
        """Whether a chunk is done with; see `pghits`."""
        return False

    cdef int broken(self, object error) except -1:
        """A chunk could not be dealt with: whatever it is, both sides end."""
        raise error

    # --- its end ----------------------------------------------------------------------------------

    cdef int finish_record(self, double now) except -1:
        cdef HitLedger ledger = self.ledger
        cdef double seconds = now - self.started
        self._finished = True
        ledger.put_finished(self.finished_line(now, b"completed", seconds))
        ledger.running -= 1
        ledger.rows += self.rows
        ledger.cells_masked += self.cells_masked
        ledger.sensitive_unmasked += self.sensitive_unmasked
        ledger.observe(seconds)
        self.add_up()
        return 0

    cdef int add_up(self) except -1:
        self.total_rows += self.rows
        self.total_bytes_out += self.bytes_out
        self.total_cells_masked += self.cells_masked
        self.total_sensitive_unmasked += self.sensitive_unmasked
        return 0

    cdef int withhold_record(self, double now) except -1:
        """It was recorded as let through, and did not run after all."""
        self.ledger.put_finished(self.finished_line(now, b"withheld", now - self.started))
        self.ledger.running -= 1
        return 0

    cdef bytes finished_line(self, double now, bytes outcome, double seconds):
        """Fields as in `audit.record.StatementFinished`, in its order, defaults left out."""
        cdef unsigned long long micros = <unsigned long long>floor(seconds * 1e6 + 0.5)
        cdef Writer out
        begin_writing(&out, PyBytes_GET_SIZE(self._finish_opening) + LINE_ROOM)
        put(&out, b'"event":"statement_finished","id":"')
        put(&out, self.ledger.new_id(now))
        put(&out, b'","time":')
        put_time(&out, now)
        put(&out, self._finish_opening)
        put(&out, self.record_id)
        put(&out, b'","outcome":"')
        put(&out, outcome)
        put(&out, b'"')
        put_field(&out, b',"rows":', self.rows)
        put_field(&out, b',"bytes_out":', self.bytes_out)
        put_field(&out, b',"cells_masked":', self.cells_masked)
        put_field(&out, b',"sensitive_unmasked_cells":', self.sensitive_unmasked)
        if micros and seconds > 0:
            put(&out, b',"duration_ms":')
            put_decimal(&out, micros, 1000)
        if self.tag:
            put(&out, b',"command_tag":"')
            put(&out, self.tag)
            put(&out, b'"')
        return written(&out)
