"""Commands of the protocol one by one, for items that need more than statements.

Used by `speech`. An item's `ops` is a list of lists, the name first: InitDb db, FieldList table
wildcard, ChangeUser login database, Reset, Statistics, Processes, Kill, SetOption n, Ping,
Prepare name text, Execute name [values] (more: `cursor`), LongData name index value, CloseStatement
name, Bytes hex answer (a whole command), Wire hex (no header), Read (one more payload).
"""

import struct
from collections.abc import Sequence
from typing import Any

from tests.redteam.mysql.place import Place
from tests.redteam.mysql.wire import EXECUTE, LONG_DATA, Answer, Session

INIT_DB, FIELD_LIST, STATISTICS, PROCESSES, KILL, PING = 2, 4, 9, 10, 12, 14
CHANGE_USER, SET_OPTION, RESET = 17, 27, 31


def carry_out(session: Session, ops: Sequence[Sequence[Any]], place: Place) -> Answer:
    """All of `ops`, until one is answered by an error."""
    found = Answer()
    statements: dict[str, int] = {}
    for op in ops:
        found.extend(_one(session, op, place, statements))
        if found.errors:
            break
    return found


def _one(session: Session, op: Sequence[Any], place: Place, statements: dict[str, int]) -> Answer:
    name, *given = op
    given = [place.substitute(value) if isinstance(value, str) else value for value in given]
    simple = {
        "InitDb": lambda: session.command(bytes([INIT_DB]) + given[0].encode()),
        "FieldList": lambda: session.command(
            bytes([FIELD_LIST]) + given[0].encode() + b"\0" + given[1].encode(), "columns"
        ),
        "Statistics": lambda: session.command(bytes([STATISTICS]), "text"),
        "Processes": lambda: session.command(bytes([PROCESSES]), "results"),
        "Kill": lambda: session.command(bytes([KILL]) + struct.pack("<I", given[0])),
        "Ping": lambda: session.command(bytes([PING])),
        "SetOption": lambda: session.command(bytes([SET_OPTION]) + struct.pack("<H", given[0])),
        "Reset": lambda: session.command(bytes([RESET])),
        "Query": lambda: session.query(given[0].encode()),
        "Bytes": lambda: session.command(bytes.fromhex(given[0]), given[1]),
    }
    if name in simple:
        return simple[name]()
    if name == "ChangeUser":
        return _change_user(session, place, *given)
    if name == "Wire":
        session.send_raw(bytes.fromhex(given[0]))
        return Answer()
    if name == "Read":
        return Answer(notes=[session.receive()])
    return _statement(session, name, given, statements)


def _statement(session: Session, name: str, given: list[Any], statements: dict[str, int]) -> Answer:
    if name == "Prepare":
        number, _, columns, found = session.prepare(given[1].encode())
        statements[given[0]] = number
        found.columns.append(columns)
        return found
    number = statements[given[0]]
    if name == "LongData":
        body = struct.pack("<BIH", LONG_DATA, number, given[1]) + given[2].encode()
        return session.command(body, "nothing")
    if name == "Execute":
        values = [None if v is None else str(v).encode() for v in given[1]]
        return session.execute(number, values, cursor="cursor" in given[2:])
    if name == "ExecuteLong":  # `given[1]` parameters, all of them sent before
        body = struct.pack("<BIBI", EXECUTE, number, 0, 1)
        body += bytes((given[1] + 7) // 8) + b"\x01" + b"\xfd\x00" * given[1]
        return session.command(body, "binary")
    if name == "CloseStatement":
        return session.command(b"\x19" + struct.pack("<I", number), "nothing")
    raise ValueError(name)


def _change_user(session: Session, place: Place, login: str, database: str) -> Answer:
    """With an empty proof, so that the server asks by its own method."""
    user = place.logins.get(login, login)
    body = bytes([CHANGE_USER]) + user.encode() + b"\0\0" + database.encode() + b"\0"
    body += struct.pack("<H", 45) + b"mysql_native_password\0\0"
    session.change_user(body, place.users[user])
    return Answer()
