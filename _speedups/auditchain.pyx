"""Chains encoded audit records: the lines of `audit/chain`, many at once; and writes them.

Called by `audit/chain` and `hitcycle`.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EBADF, ENOSPC, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strerror

from _speedups.auditwriter cimport write_hex, write_integer
from _speedups.sha256 cimport digest
from _speedups.syscalls cimport write

cdef extern from "<unistd.h>":
    int ftruncate(int descriptor, long long size)

cdef extern from *:
    """
    /* Behind all that was stored before, for whoever else looks at it. */
    static inline void store(uint64_t *at, uint64_t value)
    {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }

    /* Before all that is stored from here on. */
    static inline void fence(void)
    {
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
    """
    void store(uint64_t* at, uint64_t value) nogil
    void fence() nogil

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

    Lines that come in quick succession behind one that was written are `held` (bytes, counted in all
    of the above but in no file yet) in a journal, `keep_in`, until `flush` or `drain_to`: shared
    memory of a file, so that whatever ends the process leaves them there, as it does what was
    written. Its layout: `spool/journal`.
    """

    def __cinit__(self):
        self.descriptor = -1
        memset(self._head, 0, RAW)

    def __dealloc__(self):
        free(self._lines_at)
        if self._header != NULL:
            PyBuffer_Release(&self._journal)

    @property
    def head(self) -> bytes:
        return in_digits(self._head)

    @head.setter
    def head(self, bytes head not None):
        read_raw(head, self._head)

    def keep_in(self, journal, unsigned long long places, bytes name not None) -> None:
        """From here on lines may be held in `journal`, a writable buffer that holds none, of which the
        first `places` bytes are its header, while the file is the one with that `name`. None = they
        are not to be. What the one before holds is the caller's to put where it belongs."""
        cdef Py_buffer view
        if journal is not None:
            PyObject_GetBuffer(journal, &view, PyBUF_WRITABLE)
            if places < sizeof(Header) or view.len <= <Py_ssize_t>places:
                PyBuffer_Release(&view)
                raise ValueError("a journal has room behind its header")
        if self._header != NULL:
            PyBuffer_Release(&self._journal)
            self._header = NULL
        self.held = 0
        if journal is not None:
            self._journal = view
            self._header = <Header*>view.buf
            self._kept_at = <uint8_t*>view.buf + places
            self._kept_max = <size_t>view.len - places
            self._name_file(name)

    def begin_file(self, bytes name not None) -> None:
        """What is written from here on goes to an empty file with this name."""
        if self.held:
            raise ValueError("lines are held")
        self.size = 0
        self.lines = 0
        self.segment += 1
        if self._header != NULL:
            self._name_file(name)

    cdef int _name_file(self, bytes name) except -1:
        if <size_t>len(name) > sizeof(self._header.name):
            raise ValueError("a name is too long")
        store(&self._header.turn, self._header.turn + 1)
        memset(self._header.name, 0, sizeof(self._header.name))
        memcpy(self._header.name, PyBytes_AS_STRING(name), <size_t>len(name))
        return 0

    def drain_to(self, int descriptor) -> None:
        """What is held goes to the file `descriptor`. Raises OSError: then it is held further on, and
        nothing of it is in the file, or what is has to be cut off (behind `size - held`)."""
        cdef int number = self.drain(descriptor)
        if number:
            raise OSError(number, strerror(number).decode())

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
        if self._header != NULL and room <= self._kept_max:
            if room > self._kept_max - self.held:
                self.flush(False)
            if room <= self._kept_max - self.held:
                self._begun = self._kept_at + self.held
                return self._begun
        if room > self._room:
            free(self._lines_at)
            self._room = 0
            self._lines_at = <uint8_t*>malloc(room)
            if self._lines_at == NULL:
                raise MemoryError
            self._room = room
        self._begun = self._lines_at
        return self._begun

    cdef void head_into(self, uint8_t* out) noexcept:
        """RAW bytes."""
        memcpy(out, self._head, RAW)

    cdef int write(
        self, const uint8_t* end, unsigned long long count, const uint8_t* last, bint more
    ) noexcept:
        """The lines that were put, `count` of them with the hash `last` (RAW) at their end, all at
        once. `more`: others may follow soon, and `flush` does. -> 0, or the errno of a failure: then
        nothing of it is in the file, or what is has to be cut off.
        """
        cdef size_t size = <size_t>(end - self._begun)
        cdef int number
        if more and self._proven and self._begun != self._lines_at and self.descriptor >= 0:
            self._hold(size)
        else:
            number = self._fault or EBADF  # there was no room, and what is held could not go
            if self.descriptor >= 0:
                number = self.drain(self.descriptor) or self._write(self.descriptor, self._begun, size)
            if number:
                self._close(number)
                return number
            self._proven = True
        if self._room > ROOM_KEPT:
            free(self._lines_at)
            self._lines_at = NULL
            self._room = 0
        memcpy(self._head, last, RAW)
        self.seq += count
        self.size += <long long>size
        self.lines += count
        self.records += count
        self.written += <unsigned long long>size
        self.writes += 1
        return 0

    cdef void _hold(self, size_t size) noexcept:
        """What was put there stays there: once its length is, it is written."""
        if not self.held:
            self._header.base = <uint64_t>self.size
        self.held += size
        store(&self._header.length, self.held)

    cdef int drain(self, int descriptor) noexcept:
        """As `drain_to`. -> 0 or an errno."""
        cdef int number
        if not self.held:
            return 0
        self.size -= <long long>self.held
        number = self._write(descriptor, self._kept_at, self.held)
        self.size += <long long>self.held
        if not number:
            store(&self._header.length, 0)
            store(&self._header.turn, self._header.turn + 1)
            fence()
            self.held = 0
        return number

    cdef void flush(self, bint over) noexcept:
        """To be called every few milliseconds, at last with `over`: what is held goes to the file, if
        the short way is open; else its keeper sees to it. Nothing is held unless something was
        written since the call before this one: so a file that takes no more is found soon.
        """
        cdef int number
        self._proven = self.held and not over
        if self.held and self.descriptor >= 0:
            number = self.drain(self.descriptor)
            if number:
                self._close(number)

    cdef void _close(self, int number) noexcept:
        """Whatever fails closes the short way."""
        self._fault = number
        self.descriptor = -1
        self.segment += 1

    cdef int _write(self, int descriptor, const uint8_t* at, size_t size) noexcept:
        """To the file's end, which is `size`. -> 0 or an errno."""
        cdef Py_ssize_t written = write(descriptor, at, size)
        cdef int number
        if written == <Py_ssize_t>size:
            return 0
        number = errno if written < 0 else ENOSPC
        ftruncate(descriptor, self.size)  # tried again before the next write
        return number
