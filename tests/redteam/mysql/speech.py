"""One item's steps, said in one of the ways clients speak: what they got back.

Used by every run. Ways (`MODES`): `text` and `plain` (COM_QUERY, with and without DEPRECATE_EOF),
`prepared` (binary rows), `cursor` (fetched one row at a time), `multi` (between two other
statements), and two drivers, `pymysql` and `asyncmy`. What a server cannot prepare, and steps that
say so, go as COM_QUERY in the modes in between.
"""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncmy
import pymysql

from tests.redteam.mysql import commands
from tests.redteam.mysql.packets import Malformed
from tests.redteam.mysql.place import DATABASE, Item, Place
from tests.redteam.mysql.wire import Answer, Closed, Denied, Held, Session

DRIVERS = ("pymysql", "asyncmy")
MODES = ("text", "plain", "prepared", "cursor", "multi", *DRIVERS)
READING = MODES
WRITING = ("text", "prepared", "pymysql")
READS = (b"SELECT", b"WITH", b"TABLE", b"VALUES")
NOT_PREPARABLE = 1295
Step = dict[str, Any]


@dataclass
class Heard:
    """What came back: raw payloads, the answers of the target, and how it ended."""

    payloads: list[bytes] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    state: str = ""
    """'' | held | closed | denied | setup | malformed."""
    said: str = ""
    seconds: float = 0.0

    @property
    def last(self) -> Answer:
        return self.answers[-1] if self.answers else Answer()

    @property
    def results(self) -> list[list[list[bytes | None]]]:
        return [rows for answer in self.answers for rows in answer.rows]

    @property
    def texts(self) -> list[bytes]:
        """Errors, and what OK packets say."""
        return [
            *(text.encode() for answer in self.answers for _, _, text in answer.errors),
            *(note for answer in self.answers for note in answer.notes),
        ]


def speak(place: Place, item: Item, mode: str, steps: Sequence[Step]) -> Heard:
    """Runs `steps`; never raises for what the target does."""
    if mode in DRIVERS:
        return _drive(place, item, mode, steps)
    heard, open_now = Heard(), {}
    login = item.get("login", "analyst")
    began = time.monotonic()
    try:
        for step in steps:
            if not _one(place, heard, open_now, mode, login, step):
                break
    finally:
        heard.seconds = time.monotonic() - began
        for (_, direct, _), session in open_now.items():
            if not direct:
                heard.payloads += session.packets
            with contextlib.suppress(OSError):
                session.close()
    return heard


def _one(
    place: Place,
    heard: Heard,
    open_now: dict[tuple[str, bool, str], Session],
    mode: str,
    login: str,
    step: Step,
) -> bool:
    """One step; false ends the item."""
    if "sleep" in step:
        time.sleep(step["sleep"])
        return True
    direct = step.get("via") == "direct"
    key = (step.get("s", "a"), direct, step.get("login", login))
    try:
        if key not in open_now:
            options = {"deprecate_eof": mode != "plain", **step.get("session", {})}
            open_now[key] = place.open(key[2], direct=direct, **options)
        answer = said(place, open_now[key], "text" if direct else mode, step)
    except Held:
        heard.state = "held"
    except (Closed, OSError) as error:
        heard.state, heard.said = "closed", str(error)
    except Denied as error:
        heard.state, heard.said = "denied", str(error)
    except Malformed as error:
        heard.state, heard.said = "malformed", str(error)
    else:
        if not direct:
            heard.answers.append(answer)
        elif answer.errors and not step.get("may_fail"):
            heard.state, heard.said = "setup", answer.errors[0][2]
    return not heard.state


def said(place: Place, session: Session, mode: str, step: Step) -> Answer:
    """One step on one connection."""
    if "ops" in step:
        return commands.carry_out(session, step["ops"], place)
    if "b64" in step:
        return session.query(base64.b64decode(step["b64"]))
    if "pad" in step:
        before, unit, count, after = step["pad"]
        text = (place.substitute(before) + unit * count + place.substitute(after)).encode()
    else:
        text = place.substitute(step["q"]).encode()
    times = place.times if text.lstrip(b"( \n").upper().startswith(READS) else 1
    if "params" in step:
        values = [None if v is None else place.substitute(v).encode() for v in step["params"]]
        return _prepared(session, text, mode == "cursor", values, times)
    if mode == "multi" and not step.get("alone"):
        return session.query(b"DO 0; " + text + b"\n; DO 0")
    if mode in ("prepared", "cursor") and not step.get("text"):
        return _prepared(session, text, mode == "cursor", times=times)
    for _ in range(times - 1):
        session.query(text)
    return session.query(text)


def _prepared(
    session: Session,
    text: bytes,
    cursor: bool,
    values: Sequence[bytes | None] = (),
    times: int = 1,
) -> Answer:
    number, _, _, found = session.prepare(text)
    if found.errors:
        return session.query(text) if found.errors[0][0] == NOT_PREPARABLE else found
    for _ in range(times):
        answer = session.execute(number, list(values), cursor=cursor)
    session.command(b"\x19" + number.to_bytes(4, "little"), "nothing")
    return answer


# --- drivers --------------------------------------------------------------------------------------


def _drive(place: Place, item: Item, mode: str, steps: Sequence[Step]) -> Heard:
    """Rows and errors as the driver hands them out, on one connection."""
    heard = Heard()
    user = place.logins.get(item.get("login", "analyst"), item.get("login", "analyst"))
    began = time.monotonic()
    texts = [place.substitute(step["q"]) for step in steps if "q" in step]
    try:
        if mode == "pymysql":
            _pymysql(place, user, texts, heard)
        else:
            asyncio.run(_asyncmy(place, user, texts, heard))
    except TimeoutError:
        heard.state = "held"
    except Exception as error:
        answer = Answer()
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        answer.errors.append((number, "", " ".join(map(str, error.args))))
        heard.answers.append(answer)
        if number in (2006, 2013):
            heard.state = "held" if "timed out" in str(error) else "closed"
    heard.seconds = time.monotonic() - began
    heard.payloads = heard.texts
    return heard


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pymysql(place: Place, user: str, texts: Sequence[str], heard: Heard) -> None:
    host, port = place.address
    connection = pymysql.connect(
        host=host,
        port=port,
        user=user,
        password=place.users[user],
        database=DATABASE,
        autocommit=True,
        charset="utf8mb4",
        ssl=_context(),
        read_timeout=place.seconds,
    )
    with contextlib.closing(connection):
        for text in texts:
            cursor = connection.cursor()
            cursor.execute(text)
            while True:
                heard.answers.append(_answer(cursor))
                if not cursor.nextset():
                    break


async def _asyncmy(place: Place, user: str, texts: Sequence[str], heard: Heard) -> None:
    host, port = place.address
    connection = await asyncmy.connect(
        host=host,
        port=port,
        user=user,
        password=place.users[user],
        db=DATABASE,
        autocommit=True,
        charset="utf8mb4",
        ssl=_context(),
        read_timeout=place.seconds,
    )
    try:
        for text in texts:
            async with connection.cursor() as cursor:
                await asyncio.wait_for(cursor.execute(text), place.seconds)
                heard.answers.append(_answer(cursor, await cursor.fetchall()))
    finally:
        connection.close()


def _answer(cursor: Any, rows: Any = None) -> Answer:
    found = Answer()
    if cursor.description:
        given = cursor.fetchall() if rows is None else rows
        found.rows.append([[_bytes(value) for value in row] for row in given])
    else:
        found.notes.append(f"{cursor.rowcount} {cursor.lastrowid}".encode())
    return found


def _bytes(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode()
