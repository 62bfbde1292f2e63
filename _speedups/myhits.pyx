"""The hit path of MySQL (see `hitpath`).

Taught and armed by `session/exchange_hits`. A *cycle* is one COM_QUERY, or one COM_STMT_EXECUTE of a
prepared statement without a cursor, in one packet, while nothing else is under way; and in answer
an OK packet or one result set. An answer that does not come in whole packets, or not all of what
describes its columns at once, is the machine's from there on, and so is every error.

"Command Phase", "COM_QUERY", "COM_STMT_EXECUTE", "Protocol::OK_Packet", "Protocol::EOF_Packet" of
https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from _speedups.auditwriter cimport write_integer
from _speedups.growing cimport Output, must_add
from _speedups.hitcycle cimport Count, Hit, HitLedger
from _speedups.hitpath cimport DONE, PASS, STOP, AnyHitPath
from _speedups.mybytes cimport PACKET_HEADER, PAYLOAD_MAX, take_length, u24
from _speedups.mylex cimport fold_text
from _speedups.myrows cimport RowMasker
from _speedups.reader cimport Reader

cdef enum:
    CHUNK_BYTES_MAX = 8192
    QUERY = 0x03
    EXECUTE = 0x17
    EXECUTE_HEAD = 14  # header, command, statement, flags, how many times
    DEFINITION_MAX = 0xFA
    COLUMNS_MAX = 0xFA  # of results that are counted in one byte
    END_BYTES = 5  # of an EOF packet
    OK = 0x00
    END = 0xFE

cdef enum:
    STANDING = 0x0203  # in a transaction, autocommit, backslashes are no escapes
    # More results, a cursor, its last row, session state: only the machine knows to deal with these.
    SPECIAL = 0x40C8

# What is due: H the head of an answer (OK, or what describes a result), R rows up to their end.
cdef const char* STEPS = b"HR"
cdef enum:
    HEAD_DUE = 0
    ROWS_DUE = 1

cdef bytes NO_ATTRIBUTES = b"\0\1"


cdef inline uint32_t u32(const uint8_t* at) noexcept nogil:
    return u24(at) | (<uint32_t>at[3] << 24)


cdef inline uint16_t u16(const uint8_t* at) noexcept nogil:
    return <uint16_t>(at[0] | (<uint16_t>at[1] << 8))


@cython.final
cdef class MyHitPath(AnyHitPath):
    """One session's. `attributes`, `deprecated`, `tracked`: whether CLIENT_QUERY_ATTRIBUTES,
    CLIENT_DEPRECATE_EOF, CLIENT_SESSION_TRACK hold between both peers.

    `words_suspect`: what the database said of statements so far may quote masked cells
    (`Hit.words`). Of a cycle that is under way: `statement`: the number of what is executed;
    `sequence_due`: of the next packet, the same for both peers.
    """

    cdef public bint words_suspect
    cdef readonly int sequence_due
    cdef readonly unsigned long long statement
    cdef dict _known
    cdef bint _attributes
    cdef bint _deprecated
    cdef bint _tracked
    cdef unsigned long long _leased
    """`Lease.value` before it was sent."""
    cdef int _lexing
    cdef int _standing
    cdef Output _folded
    cdef Hit _last
    """What is executed, as long as it is known, of `statement`."""

    def __init__(
        self,
        HitLedger ledger not None,
        Count generation not None,
        Count sequence not None,
        str session not None,
        Py_ssize_t text_bytes_max,
        bint attributes,
        bint deprecated,
        bint tracked,
    ):
        super().__init__(ledger, generation, sequence, session, text_bytes_max)
        self._attributes, self._deprecated, self._tracked = attributes, deprecated, tracked
        self._known = {}

    def __dealloc__(self):
        free(self._folded.bytes)

    # --- taught -----------------------------------------------------------------------------------

    def arm(self, tuple epoch not None, int lexing, int standing) -> None:
        """The session is quiet, and decisions hold that were made under `epoch`. `lexing`: modes of
        `mylex` by which texts are read now, -1 = unknown; `standing`: status flags as the server
        said them last."""
        self._lexing, self._standing = lexing, standing & STANDING
        self.arm_under(epoch)

    def knows(
        self, unsigned long long statement, Hit hit not None, bytes bound not None, int parameters
    ) -> None:
        """A prepared statement was executed, bound to this, whose types hold from here on."""
        cdef Py_ssize_t nulls = (parameters + 7) // 8
        if parameters and PyBytes_GET_SIZE(bound) > nulls and bound[nulls] == 1:
            hit.types = bound[nulls + 1 : nulls + 1 + 2 * parameters]
        elif parameters and hit.types is None:
            return
        hit.parameters = parameters
        self._last = None
        self._known[statement] = hit

    def forgets(self, unsigned long long statement) -> None:
        self._last = None
        self._known.pop(statement, None)

    def forgets_all(self) -> None:
        self._last = None
        self._known.clear()

    def asking(self, bytes text not None) -> bytes:
        """The packet of a COM_QUERY."""
        payload = b"\3" + (NO_ATTRIBUTES if self._attributes else b"") + text
        return len(payload).to_bytes(3, "little") + b"\0" + payload

    def described(
        self,
        Hit hit not None,
        bytes description not None,
        masker,
        unsigned long long columns,
        lock,
        bytes shown,
    ) -> None:
        """What was sent earned this description, in whole packets, and this lock for it (see
        `Hit.described`)."""
        cdef Py_ssize_t end = 0 if self._deprecated else PACKET_HEADER + END_BYTES
        hit.described(
            description[: len(description) - end],
            masker,
            columns,
            lock,
            None if shown is None else shown[: len(shown) - end],
        )

    # --- from the client --------------------------------------------------------------------------

    cdef bint take(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        if not self.armed or self._steps != NULL or self._generation.value != self._seen:
            return False
        if not PACKET_HEADER < size <= CHUNK_BYTES_MAX or at[3] != 0:
            return False
        if <Py_ssize_t>u24(at) + PACKET_HEADER != size:
            return False
        if at[PACKET_HEADER] == QUERY:
            return self._take_query(at, size, now)
        if at[PACKET_HEADER] == EXECUTE:
            return self._take_execute(at, size, now)
        return False

    cdef bint _take_query(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        cdef const uint8_t* text = at + PACKET_HEADER + 1
        cdef Py_ssize_t length = size - PACKET_HEADER - 1
        cdef Hit hit
        if self._attributes:
            if length < 2 or memcmp(text, PyBytes_AS_STRING(NO_ATTRIBUTES), 2) != 0:
                return False
            text += 2
            length -= 2
        if length > self._text_bytes_max:
            return False
        hit = self._known_text(text, length)
        if hit is None or hit.query_tail is None or not self._may(hit):
            return False
        self._begin_cycle(hit, at, size, now)
        self.extended = False
        self.decide_text(hit, text, length, now)
        if hit.sent is not None:
            self.put_bytes_of(hit.sent)
        return True

    cdef Hit _known_text(self, const uint8_t* at, Py_ssize_t size):
        """What is known of a text, or None."""
        cdef Py_ssize_t index
        known = self.exact.get(PyBytes_FromStringAndSize(<const char*>at, size))
        if known is not None or not self.alike or self._lexing < 0:
            return <Hit>known
        for index in range(size):
            if at[index] >= 128:
                return None
        if not fold_text(at, <size_t>size, self._lexing, &self._folded):
            return None
        return <Hit>self.alike.get(
            PyBytes_FromStringAndSize(
                <const char*>self._folded.bytes, <Py_ssize_t>self._folded.length
            )
        )

    cdef bint _take_execute(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        cdef const uint8_t* bound = at + EXECUTE_HEAD
        cdef unsigned long long statement
        cdef Hit hit
        if size < EXECUTE_HEAD or at[9] != 0 or u32(at + 10) != 1:
            return False
        statement = u32(at + 5)
        if self._last is None or self.statement != statement:
            self._last = <Hit>self._known.get(statement)
            self.statement = statement
        hit = self._last
        if hit is None or hit.execute_tail is None or not self._may(hit):
            return False
        if not self._fits(hit, bound, size - EXECUTE_HEAD):
            return False
        self._begin_cycle(hit, at, size, now)
        self.extended = True
        self.decide(self._record_id, now, hit.execute_tail)
        return True

    cdef bint _fits(self, Hit hit, const uint8_t* bound, Py_ssize_t size):
        """Whether what it is bound to has the types of the execution before. Its values are the
        server's to read."""
        cdef Py_ssize_t nulls = (hit.parameters + 7) // 8
        cdef Py_ssize_t types
        if not hit.parameters:
            return size == 0
        if size <= nulls:
            return False
        if bound[nulls] == 0:
            return True
        types = PyBytes_GET_SIZE(hit.types)
        if bound[nulls] != 1 or size < nulls + 1 + types:
            return False
        return memcmp(bound + nulls + 1, PyBytes_AS_STRING(hit.types), <size_t>types) == 0

    cdef bint _may(self, Hit hit) except -1:
        """Whether it holds, and what it rests on is held where it must be."""
        if not self.holds(hit):
            return False
        if hit.lease is None:
            return True
        self._leased = hit.lease.value
        return self._leased != 0

    cdef bint _still(self):
        """Whether what the statement rests on was held from before it was sent until now."""
        cdef Hit hit = self.hit
        return hit.lease is None or (hit.lease.value == self._leased and hit.lease.live())

    cdef int _begin_cycle(
        self, Hit hit, const uint8_t* at, Py_ssize_t size, double now
    ) except -1:
        if hit.lease is not None:
            hit.lease.used += 1
        self.begin(hit, at, size, now)
        self._steps = STEPS
        self.sequence_due = 1
        return 0

    cdef Output* forwarded(self) noexcept:
        if self.hit.words:
            self.words_suspect = self.hit.words == 1
        return AnyHitPath.forwarded(self)

    # --- from the database ------------------------------------------------------------------------

    cdef const uint8_t* _next
    """Behind what was dealt with."""

    cdef bint follow(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        cdef const uint8_t* end = at + size
        cdef int became
        self._gets_bytes = 0
        self._done = self._got = False
        self._begin = self._next = at
        while self._next < end:
            if self._step == HEAD_DUE:
                became = self._head(self._next, end, now)
            else:
                became = self._rows(self._next, end, now)
            if became == PASS:
                continue
            if became == DONE:
                self._done = True
                if self._next == end:
                    break
            self.get(self._next)  # nothing is due behind it, or it is not what is due
            self._remainder = PyBytes_FromStringAndSize(<const char*>self._next, end - self._next)
            return True
        self.get(self._next)
        return False

    cdef Py_ssize_t _packet(self, const uint8_t* at, const uint8_t* end, int ahead) noexcept:
        """Length of the payload of a whole packet that is due, `ahead` others before it; 0 = it is
        not there, or not due, or empty, or goes on in another."""
        cdef Py_ssize_t length
        if end - at <= PACKET_HEADER:
            return 0
        length = u24(at)
        if length == PAYLOAD_MAX or length > end - at - PACKET_HEADER:
            return 0
        return length if at[3] == (self.sequence_due + ahead) & 0xFF else 0

    cdef int _passed(self, const uint8_t* to, int packets) noexcept:
        self._next = to
        self.sequence_due = (self.sequence_due + packets) & 0xFF
        return PASS

    cdef int _head(self, const uint8_t* at, const uint8_t* end, double now) except -1:
        cdef Py_ssize_t length = self._packet(at, end, 0)
        cdef const uint8_t* described = at
        cdef int count
        cdef int index
        if not length:
            return STOP
        count = at[PACKET_HEADER]
        if count == OK:
            return self._complete(at, length, now)
        if length != 1 or count > COLUMNS_MAX:
            return STOP
        described += PACKET_HEADER + 1
        for index in range(count):
            length = self._packet(described, end, index + 1)
            if not length or described[PACKET_HEADER] > DEFINITION_MAX:
                return STOP
            described += PACKET_HEADER + length
        if self._generation.value != self._seen or not self._still():
            return STOP  # the schema may have changed since it was judged: the machine tells
        if self._deprecated:
            return self._describe(at, described, described, count + 1)
        if self._packet(described, end, count + 1) != END_BYTES:
            return STOP
        if described[PACKET_HEADER] != END or u16(described + 7) & SPECIAL:
            return STOP
        return self._describe(
            at, described, described + PACKET_HEADER + END_BYTES, count + 2
        )

    cdef int _describe(
        self, const uint8_t* at, const uint8_t* described, const uint8_t* to, int packets
    ) except -1:
        """A whole description of columns, `described` behind the last of them."""
        cdef bytes shown
        if self.hit.bound:
            self.lock = self.hit.lock_of(at, <size_t>(described - at))
            if self.lock is None:
                return STOP
            self._masker = self.lock[0]
            self._sensitive = <unsigned long long>self.lock[1]
            shown = <bytes>self.lock[3]
            if shown is not None:
                self.keep(at)
                must_add(&self._out, PyBytes_AS_STRING(shown), <size_t>PyBytes_GET_SIZE(shown))
                self._begin = described
        self._described = True
        self._step = ROWS_DUE
        return self._passed(to, packets)

    cdef int _rows(self, const uint8_t* at, const uint8_t* end, double now) except -1:
        """A run of whole rows, and their end."""
        cdef const uint8_t* begin = at
        cdef Py_ssize_t length
        cdef int count = 0
        while True:
            length = self._packet(at, end, count)
            if not length or at[PACKET_HEADER] >= END:
                break
            if self.extended and at[PACKET_HEADER] != 0:
                break
            at += PACKET_HEADER + length
            count += 1
        if count:
            self._passes(begin, at, count)
            self._passed(at, count)
        if at == end:
            return PASS
        if length and at[PACKET_HEADER] == END:
            return self._complete(at, length, now)
        return STOP

    cdef int _passes(self, const uint8_t* begin, const uint8_t* at, int count) except -1:
        """So many rows, masked where they are to be."""
        cdef RowMasker masker
        cdef unsigned long long before
        cdef size_t kept
        self.sensitive_unmasked += <unsigned long long>count * self._sensitive
        self.rows += <unsigned long long>count
        if self._masker is None:
            self.bytes_out += <unsigned long long>(at - begin)
            return 0
        masker = <RowMasker>self._masker
        self.keep(begin)
        before, kept = masker.cells_masked, self._out.length
        masker.mask_into(
            begin,
            <size_t>(at - begin),
            count,
            <uint8_t>self.sequence_due,
            True,
            &self._out,
        )
        self.cells_masked += masker.cells_masked - before
        self.bytes_out += self._out.length - kept
        self._begin = at
        return 0

    cdef int _complete(self, const uint8_t* at, Py_ssize_t length, double now) except -1:
        """The packet that ends it, whole."""
        cdef uint64_t affected = 0
        cdef uint64_t skipped = 0
        cdef uint16_t status
        cdef Reader reader
        cdef bint rows = self._step == ROWS_DUE
        reader.at = at + PACKET_HEADER + 1
        reader.end = at + PACKET_HEADER + length
        if rows and not self._deprecated:
            if length != END_BYTES:
                return STOP
            status = u16(reader.at + 2)
        else:
            if not take_length(&reader, &affected) or not take_length(&reader, &skipped):
                return STOP
            if reader.end - reader.at < 4:
                return STOP
            status = u16(reader.at)
            reader.at += 4
            if self._tracked and reader.at < reader.end:  # what it says in words
                if not take_length(&reader, &skipped):
                    return STOP
                if skipped != <uint64_t>(reader.end - reader.at):
                    return STOP
        if status & SPECIAL or status & STANDING != self._standing:
            return STOP
        if not rows:
            if self.hit.lease is not None:
                return STOP
            memcpy(self._tag, b"OK ", 3)
            self._tag_bytes = 3 + write_integer(self._tag + 3, affected)
        self._passed(at + PACKET_HEADER + length, 1)
        self.finish_record(now)
        return DONE
