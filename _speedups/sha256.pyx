"""SHA-256 (FIPS 180-4) and what HMAC (RFC 2104) needs of it: for tokens and for the audit trail.

Called by maskops, auditchain and hitcycle. What is done to a block is OpenSSL's, which makes the most
of the processor, as soon as `audit/chain` has said where that is (`use`); else our own. Both are
proved against hashlib in the tests.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset

from _speedups.reader cimport put_u32

cdef enum:
    STATE = 8  # words
    CONTEXT = 64  # SHA256_CTX begins with those and has 28 in all (openssl/sha.h)

cdef uint32_t[64] ROUNDS = [
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
]
cdef uint32_t[8] START = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]

ctypedef void (*Compress)(void* context, const uint8_t* block) noexcept nogil

cdef Compress compress = _compress


def use(transform: int | None) -> None:
    """Address of SHA256_Transform (openssl/sha.h); None = our own. ValueError: it is another
    function; then it is our own, too."""
    global compress
    cdef uint8_t found[32]
    cdef uint8_t wanted[32]
    compress = _compress
    if transform is not None:
        digest(b"abc", 3, wanted)
        compress = <Compress><uintptr_t>transform
        digest(b"abc", 3, found)
        if memcmp(found, wanted, 32) != 0:
            compress = _compress
            raise ValueError("this is not SHA-256")


cdef inline uint32_t turn(uint32_t word, int bits) noexcept nogil:
    return (word >> bits) | (word << (32 - bits))


cdef void _compress(void* context, const uint8_t* block) noexcept nogil:
    """One 64-byte block into the state."""
    cdef uint32_t* state = <uint32_t*>context
    cdef uint32_t w[64]
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3]
    cdef uint32_t e = state[4], f = state[5], g = state[6], h = state[7]
    cdef uint32_t first, second
    cdef int index
    for index in range(16):
        w[index] = (
            (<uint32_t>block[4 * index] << 24)
            | (<uint32_t>block[4 * index + 1] << 16)
            | (<uint32_t>block[4 * index + 2] << 8)
            | <uint32_t>block[4 * index + 3]
        )
    for index in range(16, 64):
        first = turn(w[index - 15], 7) ^ turn(w[index - 15], 18) ^ (w[index - 15] >> 3)
        second = turn(w[index - 2], 17) ^ turn(w[index - 2], 19) ^ (w[index - 2] >> 10)
        w[index] = w[index - 16] + first + w[index - 7] + second
    for index in range(64):
        first = (
            h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g))
            + ROUNDS[index] + w[index]
        )
        second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))
        h = g
        g = f
        f = e
        e = d + first
        d = c
        c = b
        b = a
        a = first + second
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h


cdef void finish(
    uint32_t* state, const uint8_t* text, size_t length, uint64_t before, uint8_t* out
) noexcept nogil:
    """Takes the last `length` bytes, pads, and writes 32 bytes; `before` bytes went in already.
    `state`: CONTEXT words, of which STATE are meant."""
    cdef uint8_t block[64]
    cdef uint64_t bits = (before + length) * 8
    cdef int index
    while length >= 64:
        compress(state, text)
        text += 64
        length -= 64
    memset(block, 0, 64)
    if length:
        memcpy(block, text, length)
    block[length] = 0x80
    if length >= 56:
        compress(state, block)
        memset(block, 0, 64)
    put_u32(block + 56, <uint32_t>(bits >> 32))
    put_u32(block + 60, <uint32_t>(bits & 0xFFFFFFFFU))
    compress(state, block)
    for index in range(STATE):
        put_u32(out + 4 * index, state[index])


cdef void digest(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil:
    """32 bytes."""
    cdef uint32_t state[CONTEXT]
    memcpy(state, START, 4 * STATE)
    finish(state, text, length, 0, out)


cdef void prepare(
    uint32_t* inner, uint32_t* outer, const uint8_t* key, size_t length
) noexcept nogil:
    """The states after the inner and the outer padded key: all of HMAC that depends on the key."""
    cdef uint8_t block[64]
    memset(block, 0, 64)
    if length > 64:
        digest(key, length, block)
    else:
        memcpy(block, key, length)
    begin_padded(inner, block, 0x36)
    begin_padded(outer, block, 0x5C)


cdef void begin_padded(uint32_t* state, const uint8_t* block, uint8_t pad) noexcept nogil:
    cdef uint32_t context[CONTEXT]
    cdef uint8_t padded[64]
    cdef int index
    for index in range(64):
        padded[index] = block[index] ^ pad
    memcpy(context, START, 4 * STATE)
    compress(context, padded)
    memcpy(state, context, 4 * STATE)


cdef void authenticate(
    const uint32_t* inner,
    const uint32_t* outer,
    const uint8_t* text,
    size_t length,
    uint8_t* out,
) noexcept nogil:
    """HMAC-SHA-256 of the text, 32 bytes, under a prepared key."""
    cdef uint32_t state[CONTEXT]
    memcpy(state, inner, 4 * STATE)
    finish(state, text, length, 64, out)
    memcpy(state, outer, 4 * STATE)
    finish(state, out, 32, 64, out)


def sha256(bytes text not None) -> bytes:
    """The digest of a text; for tests."""
    cdef uint8_t out[32]
    digest(<const uint8_t*>PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text), out)
    return PyBytes_FromStringAndSize(<char*>out, 32)
