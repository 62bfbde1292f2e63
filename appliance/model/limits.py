"""Every bound of the product, in one place; units come last in the name (TigerBeetle's habit).

`Limits` is what a configuration may change; module constants are what it may not.
"""

from typing import Annotated

import msgspec

KIB = 1024
MIB = 1024 * KIB

# The wire.
STARTUP_PACKET_BYTES_MAX = 10_000  # PostgreSQL's own MAX_STARTUP_PACKET_LENGTH
AUTH_MESSAGE_BYTES_MAX = 65_536  # PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH, room for a JWT
CONTROL_FRAME_BYTES_MAX = (
    1 * MIB
)  # any gathered upstream frame that is not a row, a copy chunk or a message text
MESSAGE_TEXT_BYTES_MAX = 16 * MIB  # an error or notice: its text may quote a large value
FRAME_BYTES_MAX = 0x3FFFFFFF  # PostgreSQL's PQ_LARGE_MESSAGE_LIMIT (MaxAllocSize - 1)
COLUMNS_MAX = 1664  # MaxTupleAttributeNumber
PARAMETERS_MAX = 65_535
RECEIVE_BUFFER_BYTES = 256 * KIB  # shared by all connections of a worker

QUEUED_BYTES_MAX = 64 * KIB
"""Messages kept behind a statement that waits; then the client is not read (one chunk more may
come).
"""

# Statements.
NESTING_MAX = 1_000
TREE_DEPTH_MAX = 4_000
COMMENT_COUNT_MAX = 5_000
INLINE_ANALYSIS_BYTES_MAX = 4 * KIB  # longer statements are parsed in the analyzer process
IDENTIFIER_BYTES_MAX = 63

# Processes.
WORKERS_MAX = 256

# The audit trail.
CONTROL_CHAIN = 999  # the control process's chain among the workers', whose numbers end before it
AUDIT_TEXT_BYTES_MAX = 16 * KIB  # SQL text kept in one record; the digest covers all of it
AUDIT_NAMES_MAX = (
    256  # relations, functions, masked columns or parameter types listed in one record
)
AUDIT_NAME_CHARS_MAX = 256  # one name chosen by a client or a database, qualified
AUDIT_LINE_BYTES_MAX = 1 * MIB  # one record, encoded
AUDIT_REACH_LINES_MAX = 16_384  # how far back a brief line may speak of another
AUDIT_BACKLOG_RECORDS_MAX = 4_096  # after-the-fact records kept while the spool cannot write


INFLIGHT_MIN = 2_048


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an administrator may tune (`limits:` in the configuration)."""

    statement_bytes_max: int = 4 * MIB
    """Longest SQL text that is analysed; longer ones are refused without being gathered in memory.
    """
    bind_bytes_max: int = 1 * MIB
    """A Bind message longer than this is streamed to the database instead of gathered."""
    masked_row_bytes_max: int = 16 * MIB
    """Longest single row of a result that carries masks; a longer one ends the connection."""
    withheld_rows_bytes_max: int = 4 * MIB
    """Rows that a write returns are kept until it is known that it affected no more rows than
    policy lets it (`max_rows`); one that returns more bytes is rolled back."""
    inflight_max: Annotated[int, msgspec.Meta(ge=INFLIGHT_MIN)] = 4_096
    """Replies awaited from the database per session before the client is no longer read. Not fewer
    than the server may hold back until a Sync or Flush (8 KiB of replies of 5 bytes), or both wait.
    """
    prepared_statements_max: int = 4_096
    """Named statements and portals a session may hold."""
    write_buffer_high_bytes: int = 512 * KIB
    """Bytes waiting for one peer above which the other peer is no longer read."""
    login_ms_max: int = 15_000
    """From accept to ReadyForQuery."""
    upstream_connect_ms_max: int = 10_000
    analysis_ms_max: int = 5_000
    """Deadline of one statement in the analyzer process."""
    hold_ms_max: int = 300_000
    sessions_max: int = 10_000
    """Client connections per worker."""
    logins_pending_max: int = 1_024
    decision_cache_entries_max: int = 8_192
    catalog_refresh_ms: int = 500
    """How often an active target's catalog epoch is polled."""
    drain_ms_max: int = 30_000
    samples_per_second: Annotated[int, msgspec.Meta(ge=0, le=100)] = 4
    """Results per second and worker of which some cells of unclassified columns are looked at, once
    they have left, for what looks like personal data or secrets; 0 = none.
    """
