# The two records of a statement on the hit path, and how they are written: whole, field by field as
# `audit/record` has them, or brief, as `audit/brief` says. Used by `hitcycle`.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from _speedups.auditwriter cimport (
    DIGITS_MAX,
    ID_BYTES,
    put,
    put_bytes,
    put_decimal,
    put_field,
    put_integer,
    write_integer,
)
from _speedups.growing cimport Output

cdef enum:
    TAG_BYTES_MAX = 60
    STAMP_DIGITS = 12  # of an id: its milliseconds
    DIGEST_DIGITS = 64


cdef struct Decision:
    uint8_t id[ID_BYTES]
    unsigned long long micros  # Unix time
    unsigned long long sequence
    bint own_text  # it has another text than others like it
    uint8_t text_digest[DIGEST_DIGITS]
    unsigned long long text_bytes


cdef struct Finish:
    unsigned long long seq  # of the line of its decision, 0 = not known
    unsigned long long segment  # as `auditchain.ChainEnd` counts them
    uint8_t decided[ID_BYTES]
    unsigned long long micros  # Unix time
    bint backwards  # the clock was put back meanwhile
    unsigned long long after  # microseconds since it was decided
    bint completed  # or withheld
    unsigned long long rows
    unsigned long long bytes_out
    unsigned long long cells_masked
    unsigned long long sensitive_unmasked
    uint8_t tag[TAG_BYTES_MAX]
    size_t tag_bytes
    size_t opening_bytes  # of what stands behind the time: it follows this


cdef inline void put_decided(
    Output* out, const Decision* decision, bytes opening, bytes query_tail
) noexcept:
    """All that its tail does not have. `opening`: from behind the time to the sequence number."""
    put_bytes(out, b'"event":"statement_decided","id":"')
    put(out, decision.id, ID_BYTES)
    put_bytes(out, b'","time":')
    put_decimal(out, decision.micros, 1000000)
    put_bytes(out, opening)
    put_integer(out, decision.sequence)
    if decision.own_text:
        put_bytes(out, query_tail)
        put(out, decision.text_digest, DIGEST_DIGITS)
        put_bytes(out, b'","text_bytes":')
        put_integer(out, decision.text_bytes)


cdef inline void put_brief_decided(
    Output* out,
    const Decision* decision,
    unsigned long long seq,
    unsigned long long like,
    unsigned long long like_micros,
) noexcept:
    """The line `seq`, up to its hash: it is like the one `like`, written at `like_micros`."""
    put(out, b'{"seq":', 7)
    put_integer(out, seq)
    put(out, b',"like":', 8)
    put_integer(out, seq - like)
    put(out, b',"id":"', 7)
    put(out, decision.id + STAMP_DIGITS, ID_BYTES - STAMP_DIGITS)
    put(out, b'","us":', 7)
    put_integer(out, decision.micros - like_micros)
    put(out, b',"nth":', 7)
    put_integer(out, decision.sequence)
    if decision.own_text:
        put(out, b',"text_digest":"', 16)
        put(out, decision.text_digest, DIGEST_DIGITS)
        put(out, b'","text_bytes":', 15)
        put_integer(out, decision.text_bytes)


cdef inline void put_sums(Output* out, const Finish* finish) noexcept:
    put_field(out, b',"rows":', finish.rows)
    put_field(out, b',"bytes_out":', finish.bytes_out)
    put_field(out, b',"cells_masked":', finish.cells_masked)
    put_field(out, b',"sensitive_unmasked_cells":', finish.sensitive_unmasked)


cdef inline void put_tag(Output* out, const Finish* finish) noexcept:
    put(out, b',"command_tag":"', 16)
    put(out, finish.tag, finish.tag_bytes)
    put(out, b'"', 1)


cdef inline void put_finished(Output* out, const Finish* finish, const uint8_t* opening) noexcept:
    """Fields as in `audit.record.StatementFinished`, in its order, defaults left out."""
    put_bytes(out, b'"event":"statement_finished","id":"')
    put(out, finish.decided, ID_BYTES)
    put_bytes(out, b'e","time":')
    put_decimal(out, finish.micros, 1000000)
    put(out, opening, finish.opening_bytes)
    put(out, finish.decided, ID_BYTES)
    put_bytes(out, b'","outcome":"')
    put_bytes(out, b"completed" if finish.completed else b"withheld")
    put_bytes(out, b'"')
    put_sums(out, finish)
    if finish.after:
        put_bytes(out, b',"duration_ms":')
        put_decimal(out, finish.after, 1000)
    if finish.tag_bytes:
        put_tag(out, finish)


cdef inline bint tells_rows_only(const Finish* finish) noexcept:
    """Whether the tag is `SELECT` and the number of rows."""
    cdef uint8_t digits[DIGITS_MAX]
    cdef size_t count = write_integer(digits, finish.rows)
    return (
        finish.tag_bytes == 7 + count
        and memcmp(finish.tag, b"SELECT ", 7) == 0
        and memcmp(finish.tag + 7, digits, count) == 0
    )


cdef inline void put_brief_finished(
    Output* out, const Finish* finish, unsigned long long seq
) noexcept:
    """The line `seq`, up to its hash."""
    put(out, b'{"seq":', 7)
    put_integer(out, seq)
    put(out, b',"ends":', 8)
    put_integer(out, seq - finish.seq)
    put(out, b',"us":', 6)
    put_integer(out, finish.after)
    put_sums(out, finish)
    if not tells_rows_only(finish):
        put_tag(out, finish)
