"""Record -> the canonical JSON bytes that are hashed; line -> record.

msgspec, never orjson: what is hashed must encode every integer exactly. Called by `chain` and
`query`.
Canonical here means: the encoder's field order (declaration order, `event` first), no spaces, UTF-8
unescaped but for `"`, `\\` and controls. A verifier never re-encodes: the hash is over the bytes as
they lie.
"""

import msgspec

from appliance.audit.record import Entry, Record, StatementDecided
from appliance.model.errors import InvariantBroken
from appliance.model.limits import AUDIT_LINE_BYTES_MAX

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode_record(record: Record) -> bytes:
    """`{"event":...}`; raises InvariantBroken for a record that cannot be written (its builder's
    bug)."""
    try:
        encoded = _encode(record)
    except (UnicodeEncodeError, ValueError, TypeError) as error:
        raise InvariantBroken(f"audit record {type(record).__name__} cannot be encoded") from error
    if len(encoded) > AUDIT_LINE_BYTES_MAX:
        raise InvariantBroken(f"audit record {type(record).__name__} is longer than its bound")
    return encoded


def encode_body(record: Record) -> bytes:
    """Without its braces, as it stands in a line."""
    return encode_record(record)[1:-1]


def behind_sequence(record: StatementDecided) -> bytes:
    """What its encoding has behind the sequence number, which is the same for every execution of
    the statement. In front of it: `{"event":"statement_decided","id":I,"time":T,"session":S,
    "sequence":N`.
    """
    opening = b'"sequence":%d' % record.sequence
    return encode_record(record).partition(opening)[2][:-1]


def decode_record(line: bytes) -> Entry:
    """The record in a line (its chain fields are ignored). Raises ValueError for what is not one of
    ours."""
    return _decoder.decode(line)
