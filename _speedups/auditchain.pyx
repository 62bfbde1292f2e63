"""Chains encoded audit records: the lines of `audit/chain`, many at once.

Called by `audit/chain`, which also says (`use`) where OpenSSL's SHA-256 is, by the functions that
need no lookup per call; without it, it is `_speedups.sha256`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uintptr_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from _speedups.sha256 cimport digest

cdef enum:
    HASH = 64
    PREV = 8  # {"seq":
    CONTEXT_BYTES = 256  # SHA256_CTX has 112 (openssl/sha.h)
    AROUND = 20 + 8 + 64 + 16 + 80

ctypedef int (*Begin)(void* context) noexcept nogil
ctypedef int (*Add)(void* context, const void* text, size_t length) noexcept nogil
ctypedef int (*End)(uint8_t* out, void* context) noexcept nogil

cdef Begin openssl_begin = NULL
cdef Add openssl_add = NULL
cdef End openssl_end = NULL
cdef const char* HEX = b"0123456789abcdef"


def use(begin: int | None, add: int | None, end: int | None) -> None:
    """Addresses of SHA256_Init, SHA256_Update and SHA256_Final (openssl/sha.h); None = our own."""
    global openssl_begin, openssl_add, openssl_end
    if begin is None or add is None or end is None:
        openssl_begin = NULL
        return
    openssl_begin = <Begin><uintptr_t>begin
    openssl_add = <Add><uintptr_t>add
    openssl_end = <End><uintptr_t>end


cdef void hash_into(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil:
    """32 bytes in hexadecimal."""
    cdef uint8_t context[CONTEXT_BYTES]
    cdef uint8_t raw[32]
    cdef int index
    if openssl_begin != NULL:
        openssl_begin(context)
        openssl_add(context, text, length)
        openssl_end(raw, context)
    else:
        digest(text, length, raw)
    for index in range(32):
        out[2 * index] = HEX[raw[index] >> 4]
        out[2 * index + 1] = HEX[raw[index] & 15]


def sha256_hex(bytes text not None) -> bytes:
    """64 hexadecimal digits."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, HASH)
    hash_into(
        <const uint8_t*>PyBytes_AS_STRING(text),
        <size_t>PyBytes_GET_SIZE(text),
        <uint8_t*>PyBytes_AS_STRING(out),
    )
    return out


def chain(unsigned long long seq, bytes head not None, list records not None) -> tuple:
    """(head, lines in one piece) for encoded records without their braces, after the line `seq`
    with the hash `head`.
    """
    cdef Py_ssize_t room = 0
    cdef Py_ssize_t length
    cdef Py_ssize_t size
    cdef bytes record
    cdef bytes payload
    cdef uint8_t before[HASH]
    cdef char* at
    cdef char* begin
    if PyBytes_GET_SIZE(head) != HASH:
        raise ValueError("a hash has 64 digits")
    for record in records:
        room += PyBytes_GET_SIZE(record) + AROUND + HASH
    payload = PyBytes_FromStringAndSize(NULL, room)
    at = PyBytes_AS_STRING(payload)
    memcpy(before, PyBytes_AS_STRING(head), HASH)
    for record in records:
        seq += 1
        begin = at
        at += snprintf(at, 40, b'{"seq":%llu,"prev":"', seq)
        memcpy(at, before, HASH)
        memcpy(at + HASH, b'",', 2)
        length = PyBytes_GET_SIZE(record)
        memcpy(at + HASH + 2, PyBytes_AS_STRING(record), length)
        at += HASH + 2 + length
        hash_into(<const uint8_t*>begin, <size_t>(at - begin), before)
        memcpy(at, b',"hash":"', 9)
        memcpy(at + 9, before, HASH)
        memcpy(at + 9 + HASH, b'"}\n', 3)
        at += 9 + HASH + 3
    size = at - PyBytes_AS_STRING(payload)
    return PyBytes_FromStringAndSize(<char*>before, HASH), payload[:size]

