"""What is spoken, by name: the words that configuration, command line and people have for it.

What each speaks *with* stands in `dataplane/protocols`, under the same keys. Rule: whatever has to
be said of one of them in a text that is about all (descriptions of settings, help, errors) is said
here, and nowhere else.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import quote

import msgspec

SpokenName = Literal["postgresql", "mysql"]
"""Keys of `SPOKEN` and of `dataplane/protocols`."""


class Spoken(msgspec.Struct, frozen=True):
    """One kind of database."""

    port: int
    schemes: tuple[str, ...]
    """Of URIs."""
    password_variable: str
    """Where the databases' own clients look for a password."""
    users_database: bool
    """Whether somebody who names no database asks for the one of their own name."""
    command: Callable[[str, int, str, str], str]
    """(host, port, user, database) -> what a person types to get there."""
    notes: Mapping[str, str] = {}
    """What differs, by the name of the setting or option that the note is on."""


def _psql(host: str, port: int, user: str, database: str) -> str:
    where = f"[{host}]" if ":" in host else host
    return f"psql 'postgresql://{quote(user)}@{where}:{port}/{quote(database)}'"


def _mariadb(host: str, port: int, user: str, database: str) -> str:
    where = f"-h {host} -P {port} -u {shlex.quote(user)} -p"
    return f"mariadb {where} {shlex.quote(database)}" if database else f"mariadb {where}"


SPOKEN: Mapping[SpokenName, Spoken] = {
    "postgresql": Spoken(
        port=5432,
        schemes=("postgresql", "postgres"),
        password_variable="PGPASSWORD",  # noqa: S106 - the variable's name
        users_database=True,
        command=_psql,
        notes={
            "schema_check": "statement = the database is asked, in front of each statement of"
            " somebody who owes masks, whether what it rests on is as it was; lease = a connection"
            " of the appliance's own keeps system catalogs locked (SHARE) while nobody wants to"
            " change anything, so that short reads need not ask; whoever does, CREATE TEMPORARY"
            " TABLE and VACUUM among them, waits up to 50 ms for it. The user of `catalog` has to"
            " be a superuser or, from PostgreSQL 17 on, a member of pg_maintain; poll is for MySQL",
        },
    ),
    "mysql": Spoken(
        port=3306,
        schemes=("mysql", "mariadb"),
        password_variable="MYSQL_PWD",  # noqa: S106
        users_database=False,
        command=_mariadb,
        notes={
            "dialect": "MariaDB, too",
            "server_version": "the version that clients are greeted with, and decide by; the"
            " database's own when left out",
            "authentication": "scram's password is proved by caching_sha2_password; native is"
            " mysql_native_password, for old clients, beside scram (the users file needs"
            " `native_digest`)",
            "databases": "at login, where none may be asked for, too; what else a session reaches"
            " there is for policy and privileges to say",
            "catalog": "when left out, each session's own user; a user sees the catalog of what it"
            " has privileges for, so name one that may SELECT and SHOW VIEW everywhere: what it"
            " does not see, nobody who owes masks can use",
            "schema_check": "statement (or lease) ="
            " what each statement of somebody who owes masks rests on is looked at, over a"
            " connection of the appliance's own, before its first row leaves; poll = only by"
            " comparing catalogs now and then (limits.catalog_refresh_ms), which is cheaper and"
            " lets a statement in between be masked by what was there before",
            "--native": "mysql_native_password",
        },
    ),
}


def described(text: str, on: str) -> str:
    """`text`, and what of it is particular to a kind of database."""
    notes = [
        f"{name}: {spoken.notes[on]}." for name, spoken in SPOKEN.items() if on in spoken.notes
    ]
    return " ".join([text, *notes] if text else notes)


def ports() -> str:
    """For people."""
    return ", ".join(f"{name} {spoken.port}" for name, spoken in SPOKEN.items())


def uris() -> str:
    """For people: how URIs begin."""
    return " or ".join(f"{spoken.schemes[0]}://" for spoken in SPOKEN.values())
