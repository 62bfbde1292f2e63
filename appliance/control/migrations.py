"""The control store's tables, version by version, in SQL that SQLite and PostgreSQL both take.

Used by `store_sqlite` and `store_postgres` when they open. Rules: a version that was released is
never edited, a new one is appended; each is carried out in one transaction together with the raise
of `schema_version`; a store that is newer than this program is refused, not guessed at.

Times are unix seconds, truth values 0 or 1, JSON is text (so that an administrator can read it and
a NUL in a statement does no harm).
"""

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE requests (
            id TEXT PRIMARY KEY,
            binding TEXT NOT NULL,
            principal TEXT NOT NULL,
            on_behalf_of TEXT NOT NULL,
            node TEXT NOT NULL,
            waits SMALLINT NOT NULL,
            asked TEXT NOT NULL,
            size INTEGER NOT NULL,
            state TEXT NOT NULL,
            expires DOUBLE PRECISION NOT NULL,
            escalates DOUBLE PRECISION,
            escalated SMALLINT NOT NULL,
            votes TEXT NOT NULL,
            ended DOUBLE PRECISION,
            ended_by TEXT NOT NULL,
            reason TEXT NOT NULL,
            used INTEGER NOT NULL,
            uses INTEGER NOT NULL,
            grant_id TEXT NOT NULL
        )""",
        "CREATE INDEX requests_due ON requests (state, expires)",
        "CREATE INDEX requests_same ON requests (binding, principal)",
        "CREATE INDEX requests_of_grant ON requests (grant_id, state)",
        """CREATE TABLE uses (
            request TEXT NOT NULL,
            attempt TEXT NOT NULL,
            session TEXT NOT NULL,
            time DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (request, attempt)
        )""",
        """CREATE TABLE grants (
            id TEXT PRIMARY KEY,
            state TEXT NOT NULL,
            until DOUBLE PRECISION NOT NULL,
            proposed_by TEXT NOT NULL,
            used INTEGER NOT NULL,
            body TEXT NOT NULL
        )""",
        "CREATE INDEX grants_due ON grants (state, until)",
        """CREATE TABLE shelf (
            kind TEXT NOT NULL,
            id TEXT NOT NULL,
            owner TEXT NOT NULL,
            expires DOUBLE PRECISION NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (kind, id)
        )""",
        "CREATE INDEX shelf_owners ON shelf (kind, owner)",
        "CREATE INDEX shelf_due ON shelf (expires)",
    ),
    (
        """CREATE TABLE notices (
            sink TEXT NOT NULL,
            id TEXT NOT NULL,
            subject TEXT NOT NULL,
            position INTEGER NOT NULL,
            made DOUBLE PRECISION NOT NULL,
            due DOUBLE PRECISION NOT NULL,
            attempts INTEGER NOT NULL,
            state TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (sink, id)
        )""",
        "CREATE INDEX notices_due ON notices (sink, state, due)",
        "CREATE INDEX notices_of_subject ON notices (sink, subject, state)",
        "CREATE INDEX notices_old ON notices (made)",
        """CREATE TABLE notice_threads (
            sink TEXT NOT NULL,
            subject TEXT NOT NULL,
            reference TEXT NOT NULL,
            made DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (sink, subject)
        )""",
        """CREATE TABLE notice_sinks (
            sink TEXT PRIMARY KEY,
            since DOUBLE PRECISION NOT NULL
        )""",
    ),
    (
        """CREATE TABLE appliances (
            node TEXT PRIMARY KEY,
            seen DOUBLE PRECISION NOT NULL,
            sessions TEXT NOT NULL
        )""",
        """CREATE TABLE session_ends (
            session TEXT PRIMARY KEY,
            node TEXT NOT NULL,
            person TEXT NOT NULL,
            reason TEXT NOT NULL,
            made DOUBLE PRECISION NOT NULL
        )""",
    ),
    (
        """CREATE TABLE policy_versions (
            id TEXT PRIMARY KEY,
            made DOUBLE PRECISION NOT NULL,
            brought_by TEXT NOT NULL,
            size INTEGER NOT NULL,
            names TEXT NOT NULL,
            tested TEXT NOT NULL,
            documents TEXT NOT NULL
        )""",
        """CREATE TABLE policy_activations (
            serial INTEGER PRIMARY KEY,
            version TEXT NOT NULL,
            previous TEXT NOT NULL,
            time DOUBLE PRECISION NOT NULL,
            person TEXT NOT NULL,
            cause TEXT NOT NULL,
            reason TEXT NOT NULL,
            via TEXT NOT NULL,
            node TEXT NOT NULL
        )""",
        "CREATE INDEX policy_activations_of ON policy_activations (version, serial)",
        """CREATE TABLE policy_proposals (
            source TEXT PRIMARY KEY,
            version TEXT NOT NULL,
            time DOUBLE PRECISION NOT NULL
        )""",
        """CREATE TABLE policy_applied (
            node TEXT PRIMARY KEY,
            serial INTEGER NOT NULL,
            error TEXT NOT NULL,
            time DOUBLE PRECISION NOT NULL
        )""",
    ),
    (
        """CREATE TABLE audit_heads (
            node TEXT NOT NULL,
            worker INTEGER NOT NULL,
            slot TEXT NOT NULL,
            last BIGINT NOT NULL,
            time DOUBLE PRECISION NOT NULL,
            line TEXT NOT NULL,
            PRIMARY KEY (node, worker, slot)
        )""",
        """CREATE TABLE audit_keys (
            node TEXT NOT NULL,
            id TEXT NOT NULL,
            pem TEXT NOT NULL,
            seen DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (node, id)
        )""",
    ),
    # What knows the principal; '' in older rows, where a name was a person.
    ("ALTER TABLE requests ADD COLUMN source TEXT NOT NULL DEFAULT ''",),
)


class NewerStore(ValueError):
    """The store was made by a newer version of this program. The text is for the administrator."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"the control store has version {found}, this program knows up to {len(MIGRATIONS)}"
        )


def missing(found: int) -> tuple[tuple[str, ...], ...]:
    """What has to be carried out on a store of version `found` (0 = new). Raises NewerStore."""
    if found > len(MIGRATIONS):
        raise NewerStore(found)
    return MIGRATIONS[found:]
