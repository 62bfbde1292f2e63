"""The control process as commands ask it: where it is, who we are to it, and its answers.

Used by `login`, `approvals`, `sessions`, `grants`. Rules: the token comes from SALLYPORT_TOKEN or a
file only its owner may read, never from an argument (`ps` shows those), and goes into one header;
nothing of it is ever printed.
"""

import functools
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec
from urllib.parse import quote

import httpx
import msgspec

from appliance.cli.files import write_private
from appliance.config.section import trustworthy

URL_VARIABLE = "SALLYPORT_URL"
TOKEN_VARIABLE = "SALLYPORT_TOKEN"  # noqa: S105 - a variable's name
CA_VARIABLE = "SALLYPORT_CA"
SECONDS_MAX = 30.0

OK, FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, CONFLICT, UNREACHABLE = range(7)
"""Exit statuses of commands that ask the control process."""
EXITS = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 422: USAGE}
EXITS |= dict.fromkeys((502, 503, 504), UNREACHABLE)

Output = Literal["table", "json"]
Arguments = ParamSpec("Arguments")


class Failed(Exception):
    """Ends a command with this exit status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Login(msgspec.Struct, frozen=True):
    """What `sallyport login` keeps."""

    url: str
    token: str
    ca: str = ""

    def __repr__(self) -> str:
        return f"Login({self.url!r})"


class Answer(NamedTuple):
    status: int
    content: Any
    """Decoded JSON, None for none."""
    cookies: dict[str, str]


def login_path() -> Path:
    """$XDG_CONFIG_HOME/sallyport/login.json (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "sallyport" / "login.json"


def saved() -> Login | None:
    """Raises Failed for a file that others may read, or that is none."""
    path = login_path()
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise Failed(FAILED, f"{path} can be read by others: chmod 600, then login again")
            return msgspec.json.decode(stream.read(65_536), type=Login)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        raise Failed(FAILED, f"{path} cannot be read: `sallyport login` again") from None


def save(login: Login) -> Path:
    """Raises Failed."""
    path = login_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, msgspec.json.encode(login))
    except OSError as error:
        raise Failed(FAILED, f"{path}: {error.strerror}") from None
    return path


def chosen(url: str = "") -> Login:
    """Where and as whom: `url`, then the environment, then what login kept. A kept token is only
    ever sent to the URL that it was kept for. Raises Failed."""
    kept = saved() if not os.environ.get(TOKEN_VARIABLE) else None
    where = (url or os.environ.get(URL_VARIABLE, "") or (kept.url if kept else "")).rstrip("/")
    if not where:
        raise Failed(USAGE, f"where? `sallyport login --url https://...`, or {URL_VARIABLE}")
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token and kept is not None and kept.url == where:
        token = kept.token
    if not token:
        raise Failed(NOT_ALLOWED, f"not signed in at {where}: `sallyport login --url {where}`")
    return Login(where, token, authorities(kept))


def authorities(kept: Login | None = None) -> str:
    """PEM file of the authorities to trust, '' = the system's."""
    return os.environ.get(CA_VARIABLE, "") or (kept.ca if kept else "")


class Remote:
    """One conversation."""

    def __init__(self, login: Login) -> None:
        """Raises Failed."""
        if not trustworthy(login.url):
            raise Failed(USAGE, "the URL has to be https (plain http only to this machine)")
        self._headers = {"Accept": "application/json"}
        if login.token:
            if not login.token.isascii() or not login.token.isprintable() or " " in login.token:
                raise Failed(USAGE, "this is no token")
            self._headers["Authorization"] = f"Bearer {login.token}"
        try:
            self._context = ssl.create_default_context(cafile=login.ca or None)
        except (OSError, ssl.SSLError):
            raise Failed(USAGE, f"{login.ca}: no PEM authorities") from None
        self.url = login.url

    def _client(self) -> httpx.Client:
        """For one question: a connection that is kept would have to be closed by somebody."""
        return httpx.Client(
            base_url=self.url,
            verify=self._context,
            timeout=SECONDS_MAX,
            follow_redirects=False,
            trust_env=False,
        )

    def get(self, path: str, **query: object) -> Any:
        """Raises Failed."""
        given = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return self.ask("GET", path, query=given).content

    def post(self, path: str, body: object = None) -> Any:
        """Raises Failed."""
        return self.ask("POST", path, body).content

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        """`accept`: statuses that are no failure besides 2xx. Raises Failed."""
        content = None if body is None else msgspec.json.encode(body)
        sent = {**self._headers, **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            with self._client() as client:
                answer = client.request(method, path, content=content, params=query, headers=sent)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if answer.status_code not in accept and not answer.is_success:
            raise Failed(EXITS.get(answer.status_code, FAILED), _told(answer))
        try:
            decoded = msgspec.json.decode(answer.content) if answer.content else None
        except msgspec.DecodeError:
            raise Failed(FAILED, f"{self.url} is no Sallyport: it did not answer JSON") from None
        return Answer(answer.status_code, decoded, dict(answer.cookies))

    def events(self) -> Iterator[dict[str, Any]]:
        """Changes as they happen, until the other side ends it. Raises Failed."""
        try:
            with (
                self._client() as client,
                client.stream(
                    "GET",
                    "/api/v1/events",
                    headers=self._headers,
                    timeout=httpx.Timeout(SECONDS_MAX, read=60.0),
                ) as answer,
            ):
                if not answer.is_success:
                    answer.read()
                    raise Failed(EXITS.get(answer.status_code, FAILED), _told(answer))
                yield {"kind": "missed", "id": ""}  # whatever was before: look once
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield msgspec.json.decode(line[6:], type=dict[str, Any])
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx.HTTPError) -> Failed:
        reason = "it took too long" if isinstance(error, httpx.TimeoutException) else ""
        reason = reason or ("TLS failed" if "CERTIFICATE" in str(error) else "no connection")
        return Failed(UNREACHABLE, f"{self.url} cannot be reached: {reason}")


def _told(answer: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
        text = str(problem.get("detail") or problem.get("title") or answer.status_code)
    except msgspec.DecodeError:
        text = f"it answered {answer.status_code}"
    return plain(text)


def segment(text: str) -> str:
    """Of a path."""
    return quote(text, safe="")


def plain(text: object) -> str:
    """For a terminal: no control characters of somebody else's."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))


def asking(command: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Turns Failed into a line on standard error and its exit status."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except Failed as error:
            print(f"sallyport: {error}", file=sys.stderr)
            return error.status
        except KeyboardInterrupt:
            return 130

    return run


def show_json(content: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def show_table(heading: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Columns as wide as they need, none cut: what is piped on can be parsed by people."""
    cells = [heading, *[tuple(plain(cell).replace("\n", " ") for cell in row) for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heading))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(text.rstrip())
