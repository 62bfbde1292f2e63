"""Chains encoded audit records: the lines of `audit/chain`, many at once; and writes them.

Called by `audit/chain` and `hitcycle`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport ENOSPC, errno
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from _speedups.auditwriter cimport write_hex, write_integer
from _speedups.sha256 cimport digest
from _speedups.syscalls cimport write

cdef extern from "<unistd.h>":
    int ftruncate(int descriptor, long long size)

cdef enum:
    ROOM_KEPT = 1 << 20

cdef bint read_raw(bytes digits, uint8_t* raw) except -1:
    """A hash from its 64 digits."""
    cdef bytes read = bytes.fromhex(digits.decode())
    if PyBytes_GET_SIZE(digits) != HASH or PyBytes_GET_SIZE(read) != RAW:
        raise ValueError("a hash has 64 digits")
    memcpy(raw, PyBytes_AS_STRING(read), RAW)
    return True


cdef void hash_into(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil:
    """32 bytes in hexadecimal."""
    cdef uint8_t raw[RAW]
    digest(text, length, raw)
    write_hex(out, raw, RAW)


def sha256_hex(bytes text not None) -> bytes:
    """64 hexadecimal digits."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH)
    hash_into(
        <const uint8_t*>PyBytes_AS_STRING(text),
        <size_t>PyBytes_GET_SIZE(text),
        <uint8_t*>PyBytes_AS_STRING(out),
    )
    return out


cdef Py_ssize_t room_of(list records) except -1:
    """Bytes that the lines of these records have at most."""
    cdef Py_ssize_t room = 0
    for record in records:
        if type(record) is tuple:
            room += PyBytes_GET_SIZE(<bytes>(<tuple>record)[0])
            room += PyBytes_GET_SIZE(<bytes>(<tuple>record)[1])
        else:
            room += PyBytes_GET_SIZE(<bytes>record)
        room += AROUND
    return room


cdef uint8_t* put_line(
    uint8_t* at,
    unsigned long long seq,
    uint8_t* before,
    const void* record,
    size_t length,
    const void* tail,
    size_t tail_length,
    const uint8_t* digested,
) noexcept nogil:
    """The line `seq` behind the one with the hash `before` (RAW), which becomes its own. `tail` may
    be NULL; else `digested` is its SHA-256. -> its end; AROUND bytes more than the parts have are
    enough."""
    cdef uint8_t* begin = at
    memcpy(at, b'{"seq":', 7)
    at += 7
    at += write_integer(at, seq)
    memcpy(at, b',"prev":"', 9)
    write_hex(at + 9, before, RAW)
    memcpy(at + 9 + HASH, b'",', 2)
    at += 9 + HASH + 2
    if tail != NULL:
        memcpy(at, b'"tail":', 7)
        at += 7
        at += write_integer(at, tail_length)
        at[0] = c","
        at += 1
    memcpy(at, record, length)
    at += length
    if tail == NULL:
        digest(begin, <size_t>(at - begin), before)
    else:  # the digest stands where the tail is going to
        memcpy(at, digested, RAW)
        digest(begin, <size_t>(at + RAW - begin), before)
        memcpy(at, tail, tail_length)
        at += tail_length
    return close_line(at, before)


cdef inline uint8_t* close_line(uint8_t* at, const uint8_t* hashed) noexcept nogil:
    memcpy(at, b',"hash":"', 9)
    write_hex(at + 9, hashed, RAW)
    memcpy(at + 9 + HASH, b'"}\n', 3)
    return at + 9 + HASH + 3


cdef uint8_t* end_brief(const uint8_t* begin, uint8_t* at, uint8_t* before) noexcept nogil:
    """The brief line that was put from `begin` to `at`, behind the one with the hash `before`
    (RAW), which becomes its own. -> its end."""
    memcpy(at, before, RAW)  # where the hash is going to stand
    digest(begin, <size_t>(at + RAW - begin), before)
    return close_line(at, before)


cdef uint8_t* put_lines(
    uint8_t* at, unsigned long long seq, uint8_t* before, list records
) except NULL:
    """Lines behind the line `seq` with the hash `before` (RAW), which becomes the last one's. ->
    their end."""
    cdef bytes record
    cdef bytes tail
    cdef bytes digested
    for each in records:
        seq += 1
        if type(each) is tuple:
            record, tail, digested = <bytes>(<tuple>each)[0], (<tuple>each)[1], (<tuple>each)[2]
            if PyBytes_GET_SIZE(digested) != RAW:
                raise ValueError("a digest has 32 bytes")
            at = put_line(
                at, seq, before,
                PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record),
                PyBytes_AS_STRING(tail), <size_t>PyBytes_GET_SIZE(tail),
                <const uint8_t*>PyBytes_AS_STRING(digested),
            )
        else:
            record = <bytes>each
            at = put_line(
                at, seq, before,
                PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record),
                NULL, 0, NULL,
            )
    return at


def chain(unsigned long long seq, bytes head not None, list records not None) -> tuple:
    """(head, lines in one piece) for encoded records without their braces, after the line `seq`
    with the hash `head`. A record is bytes, or (what varies, tail, SHA-256 of the tail).
    """
    cdef Py_ssize_t size
    cdef bytes payload
    cdef uint8_t* at
    cdef uint8_t before[RAW]
    read_raw(head, before)
    payload = PyBytes_FromStringAndSize(NULL, room_of(records))
    at = <uint8_t*>PyBytes_AS_STRING(payload)
    size = put_lines(at, seq, before, records) - at
    return in_digits(before), payload[:size]


cdef bytes in_digits(const uint8_t* raw):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH)
    write_hex(<uint8_t*>PyBytes_AS_STRING(out), raw, RAW)
    return out


@cython.final
cdef class ChainEnd:
    """Where a worker's chain ends and how much its file has: `seq`, `head` (as in `audit/chain`),
    `size` (bytes), `lines` of the file; `records`, `written` (bytes; sums of all files), `writes`. Kept by
    `spool`, which opens the short way, `append` (to the file `descriptor`, up to
    `size_max` bytes), while nothing is in the way; -1 = it is closed.

    `segment` counts files, and whatever makes it unsure what the newest one holds; only within one
    may a brief line speak of another (`audit/brief`), at most `reach` lines before it; 0 = there
    are to be none.
    """

    def __cinit__(self):
        self.descriptor = -1
        memset(self._head, 0, RAW)

    def __dealloc__(self):
        free(self._lines_at)

    @property
    def head(self) -> bytes:
        return in_digits(self._head)

    @head.setter
    def head(self, bytes head not None):
        read_raw(head, self._head)

    def grow(self, unsigned long long records, unsigned long long size) -> None:
        """That much was written."""
        self.size += <long long>size
        self.lines += records
        self.records += records
        self.written += size
        self.writes += 1

    cdef bint open(self):
        return self.descriptor >= 0 and self.size < self.size_max

    cdef uint8_t* begin(self, size_t room) except NULL:
        """Where lines are to be put (`put_line`) that need no more than `room`, behind `seq` and
        `head_into`."""
        if room > self._room:
            free(self._lines_at)
            self._room = 0
            self._lines_at = <uint8_t*>malloc(room)
            if self._lines_at == NULL:
                raise MemoryError
            self._room = room
        return self._lines_at

    cdef void head_into(self, uint8_t* out) noexcept:
        """RAW bytes."""
        memcpy(out, self._head, RAW)

    cdef int write(self, const uint8_t* end, unsigned long long count, const uint8_t* last) noexcept:
        """The lines that were put, `count` of them with the hash `last` (RAW) at their end, all in one
        write. -> 0, or the errno of a failure: then nothing of it is in the file, or what is has to
        be cut off.
        """
        cdef Py_ssize_t size = end - self._lines_at
        cdef Py_ssize_t written = write(self.descriptor, self._lines_at, <size_t>size)
        cdef int number
        if written != size:
            number = errno if written < 0 else ENOSPC
            ftruncate(self.descriptor, self.size)  # tried again before the next write
            self.descriptor = -1
            self.segment += 1
            return number
        if self._room > ROOM_KEPT:
            free(self._lines_at)
            self._lines_at = NULL
            self._room = 0
        memcpy(self._head, last, RAW)
        self.seq += count
        self.size += size
        self.lines += count
        self.records += count
        self.written += <unsigned long long>size
        self.writes += 1
        return 0
