"""Keys of texts (`sqllex.fold`), where most are like one of the last but for its constants.

Used by `pghits`. A text that was folded lately is kept as a *shape*: what stands between its constants.
Another that has the same there, and a constant of the same kind at each place, has its key: the
lexer goes from left to right, what it looks at ahead of a token is the same in both, and a constant
goes on in what follows it in both or in neither, since that begins with the same byte. Rule: the
key is the one that `sqllex.fold` gives, which is what this is held against in tests.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp

from _speedups.growing cimport Output, shrink
from _speedups.sqllex cimport FOLDED_DIGITS_MAX, fold_text

cdef enum:
    SHAPES_MAX = 4
    TEXT_BYTES_MAX = 2048
    QUOTE = 39
    BACKSLASH = 92


@cython.final
cdef class Shape:
    """`text`, whose constants are `count` pieces from `starts` to `ends`, and its `key`."""

    cdef bint fits(self, const uint8_t* at, Py_ssize_t size) noexcept:
        """Whether the text at `at` has the same key."""
        cdef const uint8_t* end = at + size
        cdef const uint8_t* known = <const uint8_t*>PyBytes_AS_STRING(self.text)
        cdef Py_ssize_t between
        cdef Py_ssize_t place = 0
        cdef int index
        for index in range(self.count):
            between = self.starts[index] - place
            if end - at <= between or memcmp(at, known + place, <size_t>between) != 0:
                return False
            at += between
            at = constant_end(at, end, known[self.starts[index]] == QUOTE)
            if at == NULL:
                return False
            place = self.ends[index]
        between = PyBytes_GET_SIZE(self.text) - place
        return end - at == between and memcmp(at, known + place, <size_t>between) == 0


cdef const uint8_t* constant_end(
    const uint8_t* at, const uint8_t* end, bint string
) noexcept nogil:
    """Behind the short integer, or the string without anything that would have to be told apart in
    it, that begins here; NULL: there is none."""
    cdef const uint8_t* begin = at
    if not string:
        while at < end and 48 <= at[0] <= 57:
            at += 1
        return at if 0 < at - begin <= FOLDED_DIGITS_MAX else NULL
    if at[0] != QUOTE:
        return NULL
    at += 1
    while at < end and at[0] != QUOTE:
        if at[0] == 0 or at[0] == BACKSLASH or at[0] >= 128:
            return NULL
        at += 1
    return at + 1 if at < end else NULL


@cython.final
cdef class Folds:
    """Of one session: its last SHAPES_MAX shapes."""

    def __cinit__(self):
        self._shapes = []

    def __dealloc__(self):
        free(self._folded.bytes)
        free(self._offsets.bytes)

    cdef bytes recall(self, const uint8_t* at, Py_ssize_t size):
        """The key of a text of one of the shapes; None: it is of none."""
        cdef Py_ssize_t index
        cdef Shape shape
        for index in range(len(self._shapes)):
            shape = <Shape>self._shapes[index]
            if shape.fits(at, size):
                if index:
                    self._shapes.insert(0, self._shapes.pop(index))
                return shape.key
        return None

    cdef bytes key_of(self, const uint8_t* at, Py_ssize_t size):
        """The key, as `sqllex.fold` has it, of a text that is of no shape yet; None: it has none."""
        cdef bytes key = None
        if fold_text(at, <size_t>size, &self._folded, &self._offsets):
            key = PyBytes_FromStringAndSize(
                <const char*>self._folded.bytes, <Py_ssize_t>self._folded.length
            )
        if size > TEXT_BYTES_MAX:  # it is not kept, nor what it took
            self._folded.length = self._offsets.length = 0
            shrink(&self._folded, 0)
            shrink(&self._offsets, 0)
        return key

    cdef int keep(self, const uint8_t* at, Py_ssize_t size, bytes key) except -1:
        """The text of which `key_of` was asked last, as a shape, where it is short and plain
        enough."""
        cdef const size_t* starts = <const size_t*>self._offsets.bytes
        cdef size_t count = self._offsets.length // sizeof(size_t)
        cdef const uint8_t* end
        cdef Shape shape
        cdef size_t index
        if size > TEXT_BYTES_MAX or count > CONSTANTS_MAX:
            return 0
        shape = Shape()
        shape.text = PyBytes_FromStringAndSize(<const char*>at, size)
        shape.key = key
        shape.count = <int>count
        for index in range(count):
            end = constant_end(at + starts[index], at + size, at[starts[index]] == QUOTE)
            if end == NULL:
                return 0
            shape.starts[index] = <uint16_t>starts[index]
            shape.ends[index] = <uint16_t>(end - at)
        self._shapes.insert(0, shape)
        if len(self._shapes) > SHAPES_MAX:
            self._shapes.pop()
        return 0

    def key(self, bytes text not None) -> bytes | None:
        """As `key_of`, and the text is kept. For tests."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(text)
        cdef bytes key = self.key_of(at, PyBytes_GET_SIZE(text))
        if key is not None:
            self.keep(at, PyBytes_GET_SIZE(text), key)
        return key

    def recalled(self, bytes text not None) -> bytes | None:
        """As `recall`. For tests."""
        return self.recall(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
