"""Real clients in processes of their own, to be interrupted and killed: psql and asyncpg.

Both are given statements one after the other and say what became of each on stdout: what was told
to them (notices), a line with the command tag, or an error with its SQLSTATE.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from tests import clusters
from tests.endtoend.stage import DATABASE, Running

PROGRAMS = ("psql", "asyncpg")
_ASYNCPG = """
import asyncio, sys
import asyncpg

async def ask(connection, text):
    words = text.split(";;")  # text, then values
    try:
        print(await connection.execute(words[0], *words[1:]), flush=True)
    except asyncpg.PostgresError as error:
        print("ERROR: ", error.sqlstate, error, getattr(error, "hint", ""), flush=True)

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    connection.add_log_listener(lambda _, said: print("NOTICE: ", said, said.hint, flush=True))
    for text in sys.argv[2:]:
        task = asyncio.create_task(ask(connection, text))
        asyncio.get_running_loop().add_signal_handler(2, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            print("ERROR:  57014 cancelled", flush=True)

asyncio.run(main())
"""


class Asking:
    """One client at work. `said` waits for its end."""

    def __init__(self, program: str, uri: str, texts: tuple[str, ...]) -> None:
        self.program = program
        psql = clusters.installed_program("psql")
        given: str | None = None
        if program == "psql":
            assert psql is not None
            command = [str(psql), uri, "-X", "-v", "VERBOSITY=verbose"]
            given = "".join(f"{text};\n" for text in texts)
        else:
            command = [sys.executable, "-c", _ASYNCPG, uri, *texts]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        assert self._child.stdin is not None
        if given is not None:
            self._child.stdin.write(given)
        self._child.stdin.close()
        self._child.stdin = None

    @property
    def waits(self) -> bool:
        return self._child.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C. (psql, not at a terminal, ends with the statement that it cancels.)"""
        self._child.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def said(self) -> str:
        """Everything, once it has ended."""
        return self._child.communicate(timeout=30)[0]

    def end(self) -> None:
        self._child.kill()
        self._child.communicate()


@contextlib.contextmanager
def asking(running: Running, program: str, user: str, *texts: str) -> Iterator[Asking]:
    """The client, begun; killed at the end if it is still there. `texts`: without semicolons; for
    asyncpg values may follow, each after `;;`."""
    uri = (
        f"postgresql://{user}:{user}-password@127.0.0.1:{running.ports['main']}/{DATABASE}"
        "?sslmode=disable"
    )
    client = Asking(program, uri, texts)
    try:
        yield client
    finally:
        client.end()
