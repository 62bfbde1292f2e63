"""The unnamed statement that a PostgreSQL server has of a session, so that a Parse which would make
the same one again need not be sent.

Kept by `pghits`, one per session. Rule: with a Parse that is spared the server does what it would
have done with it. So it is spared only

- where the very same Parse was sent last, its cycle went as it was expected, and nothing else was
  written to the server since, by whomever (`Chunks.written`);
- where the server's process is the one that said so (`direct`): a pooler in between may have others;
- as long as the schema is held without a break (`leases`);
- of a text without a string: a constant is read when its text is parsed, by the settings and at the
  time of that moment;
- of a text with parameters, PARSE_USES_MAX times in all: those executions are planned each by
  itself, and with the next one the server might begin to use one plan for all;
- for PARSE_SECONDS_MAX. This bounds what the rule cannot have: a configuration that the server reads
  again, as far as it says what a text means (`transform_null_equals`), shows so much later.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
https://www.postgresql.org/docs/current/sql-prepare.html (Notes)
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from _speedups.growing cimport Output, must_add
from _speedups.hitcycle cimport Hit
from _speedups.pgcycle cimport HEADER

cdef int PARSE_USES_MAX = 5
cdef double PARSE_SECONDS_MAX = 1.0


cdef bint has_string(const uint8_t* text) noexcept:
    """Whether this text, which ends with a zero, may hold a string, in quotes or dollars."""
    while text[0]:
        if text[0] == c"'" or (text[0] == c"$" and not c"0" <= text[1] <= c"9"):
            return True
        text += 1
    return False


@cython.final
cdef class Unnamed:
    """`direct`: the server's process is known to be at the other end.

    `_hit`: what is known of the statement, None = nothing; `_due`: what will be known once the cycle
    under way is over; `_parse`: its Parse, as the client sent it; `_under`: the lease's number;
    `_written`: the connection's.
    """

    def __dealloc__(self):
        free(self._parse.bytes)

    cdef void forget(self) noexcept:
        self._hit = self._due = None

    cdef Hit of(self, const uint8_t* at, Py_ssize_t size, double now, unsigned long long written):
        """What is known of it if this chunk begins with its Parse, else None."""
        cdef Py_ssize_t length = self.parse_bytes()
        if self._hit is None or self._uses >= PARSE_USES_MAX or self._written != written:
            return None
        if not self._since <= now < self._since + PARSE_SECONDS_MAX or length >= size:
            return None
        if memcmp(at, self._parse.bytes, <size_t>length) != 0:
            return None
        return self._hit

    cdef Py_ssize_t parse_bytes(self) noexcept:
        return <Py_ssize_t>self._parse.length

    cdef bint holds_under(self, unsigned long long under) noexcept:
        return self.direct and under == self._under

    cdef void used(self) noexcept:
        """It is executed once more."""
        self._hit, self._due = None, self._hit
        self._uses += 1

    cdef int sent(
        self,
        Hit hit,
        const uint8_t* at,
        Py_ssize_t size,
        unsigned long long under,
        double now,
        unsigned long long written,
    ) except -1:
        """This Parse is sent, and what it makes is executed. `under`: 0 = without a lease; `written`:
        0 = where to is not known."""
        cdef const uint8_t* text = at + HEADER + 1
        self.forget()
        if not self.direct or not under or not written or hit.parameters < 1:
            return 0
        if hit.text is not None:
            text = <const uint8_t*>PyBytes_AS_STRING(hit.text)
        if has_string(text):
            return 0
        self._due = hit
        self._parse.length = 0
        must_add(&self._parse, at, <size_t>size)
        self._under, self._written, self._since, self._uses = under, written, now, 1
        return 0

    cdef void cycle_over(self) noexcept:
        """All of it was answered as it was expected."""
        self._hit, self._due = self._due, None
