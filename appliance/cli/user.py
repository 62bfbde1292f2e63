"""`sallyport user ...`: the users file. Passwords come in by prompt, file or pipe, and only
verifiers are stored."""

import getpass
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from appliance.cli.files import locked, write_private
from appliance.config.spoken import described as spoken_described
from appliance.identity.native import native_digest
from appliance.identity.scram import DEFAULT_ITERATIONS, SALT_BYTES, make_verifier
from appliance.identity.verifiers import Directory, User, parse_users, render_users
from appliance.model.principal import PrincipalKind

user_app = App(name="user", help="Add, list, disable and remove local users.")

DEFAULT_USERS = Path(os.environ.get("SALLYPORT_USERS", "/etc/sallyport/users.yaml"))
PASSWORD_CHARS_MIN = 8
PASSWORD_BYTES_MAX = 4_096
USERS_BYTES_MAX = 64 * 1024 * 1024

UsersFile = Annotated[Path, Parameter(name="--users", help="The users file (or $SALLYPORT_USERS).")]
Native = Annotated[
    bool,
    Parameter(
        negative="",
        help=spoken_described("Also for listeners that take `native`: a weak digest.", "--native"),
    ),
]
Iterations = Annotated[int, Parameter(help="PBKDF2 rounds; PostgreSQL's default is 4096.")]
PasswordFile = Annotated[
    Path | None, Parameter(help="File with the password; one ending line feed is dropped.")
]
PasswordStdin = Annotated[
    bool, Parameter(negative="", help="Read the password from standard input.")
]
Generate = Annotated[
    bool, Parameter(negative="", help="Make a strong password and print it, once.")
]


class Problem(Exception):
    """Ends the command with this text and status 1."""


@user_app.command
def add(
    name: str,
    *,
    kind: Annotated[
        PrincipalKind, Parameter(help="human, service or agent.")
    ] = PrincipalKind.HUMAN,
    group: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A group that policies name, as analysts; again for more."),
    ] = (),
    on_behalf_of: Annotated[str | None, Parameter(help="Human an agent acts for.")] = None,
    users: UsersFile = DEFAULT_USERS,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    no_password: Annotated[
        bool, Parameter(negative="", help="No password: certificate or token only.")
    ] = False,
    replace: Annotated[bool, Parameter(negative="", help="Replace one of this name.")] = False,
    native: Native = False,
    iterations: Iterations = DEFAULT_ITERATIONS,
) -> int:
    """Add a user. Without a password option, the password is asked for."""

    def change(directory: Directory) -> Directory:
        if directory.find(name) is not None and not replace:
            raise Problem(f"{name} is there already; --replace overwrites it")
        stored: dict[str, str] = {}
        if not no_password:
            secret = secret_from(password_file, password_stdin, generate)
            stored = stored_of(secret, iterations, native)
        try:
            user = User(name=name, kind=kind, groups=group, on_behalf_of=on_behalf_of)
            user = msgspec.structs.replace(user, **stored)
        except ValueError:
            raise Problem("names: 1 to 256 printable characters, no space at the ends") from None
        return directory.with_user(user)

    return edit(users, change, f"{name}: added")


@user_app.command
def password(
    name: str,
    *,
    users: UsersFile = DEFAULT_USERS,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    generate: Generate = False,
    native: Native = False,
    iterations: Iterations = DEFAULT_ITERATIONS,
) -> int:
    """Give a user another password."""

    def change(directory: Directory) -> Directory:
        user = existing(directory, name)
        secret = secret_from(password_file, password_stdin, generate)
        stored = {"native_digest": None, **stored_of(secret, iterations, native)}
        return directory.with_user(msgspec.structs.replace(user, **stored))

    return edit(users, change, f"{name}: password changed")


@user_app.command
def remove(name: str, *, users: UsersFile = DEFAULT_USERS) -> int:
    """Remove a user."""

    def change(directory: Directory) -> Directory:
        return directory.without(existing(directory, name).name)

    return edit(users, change, f"{name}: removed")


@user_app.command
def disable(name: str, *, users: UsersFile = DEFAULT_USERS) -> int:
    """Refuse a user's logins, and keep the name."""
    return set_disabled(name, users, disabled=True)


@user_app.command
def enable(name: str, *, users: UsersFile = DEFAULT_USERS) -> int:
    """Undo `disable`."""
    return set_disabled(name, users, disabled=False)


@user_app.command(name="list")
def show(
    *,
    users: UsersFile = DEFAULT_USERS,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="As JSON lines.")] = False,
) -> int:
    """List users. Verifiers are not shown."""
    try:
        directory = read_users(users, must_exist=True)
    except (Problem, OSError, ValueError) as problem:
        return failed(problem)
    rows = sorted(directory.users, key=lambda user: user.name)
    for user in rows:
        if as_json:
            print(json.dumps(described(user), ensure_ascii=False))
            continue
        state = "disabled" if user.disabled else "active"
        proof = "password" if user.verifier else "no password"
        groups = ",".join(user.groups) or "-"
        print(f"{user.name:<24} {user.kind.value:<8} {state:<9} {proof:<12} {groups}")
    return 0


def described(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "kind": user.kind.value,
        "groups": list(user.groups),
        "on_behalf_of": user.on_behalf_of,
        "disabled": user.disabled,
        "password": user.verifier is not None,
    }


def set_disabled(name: str, users: Path, *, disabled: bool) -> int:
    def change(directory: Directory) -> Directory:
        return directory.with_user(
            msgspec.structs.replace(existing(directory, name), disabled=disabled)
        )

    return edit(users, change, f"{name}: {'disabled' if disabled else 'enabled'}")


def existing(directory: Directory, name: str) -> User:
    user = directory.find(name)
    if user is None:
        raise Problem(f"there is no user {name}")
    return user


def edit(path: Path, change: Callable[[Directory], Directory], done: str) -> int:
    """Read, change and write under a lock; says what to do next."""
    try:
        if not path.parent.is_dir():
            raise Problem(
                f"the folder {path.parent} does not exist; say with --users FILE where the users "
                "file is or shall be"
            )
        with locked(path.parent):
            directory = change(read_users(path))
            write_private(path, render_users(directory).encode())
    except (Problem, OSError, ValueError) as problem:
        return failed(problem)
    print(f"{done} ({path}). A running appliance takes it up on SIGHUP.", file=sys.stderr)
    return 0


def read_users(path: Path, *, must_exist: bool = False) -> Directory:
    if not path.exists() and not must_exist:
        return Directory()
    if path.stat().st_size > USERS_BYTES_MAX:
        raise Problem(f"{path} is longer than 64 MiB")
    return parse_users(path.read_text(encoding="utf-8"), str(path))


def stored_of(secret: bytes, iterations: int, native: bool) -> dict[str, str]:
    """What the users file holds instead of a password."""
    if not 1_000 <= iterations <= 1_000_000:
        raise Problem("--iterations: 1000 to 1000000")
    verifier = make_verifier(secret, secrets.token_bytes(SALT_BYTES), iterations).render()
    if not native:
        return {"verifier": verifier}
    return {"verifier": verifier, "native_digest": native_digest(secret)}


def secret_from(file: Path | None, stdin: bool, generate: bool) -> bytes:
    if sum((file is not None, stdin, generate)) > 1:
        raise Problem("one of --password-file, --password-stdin and --generate")
    if generate:
        secret = secrets.token_urlsafe(24).encode()
        print(secret.decode())
    elif file is not None:
        secret = trimmed(file.read_bytes())
    elif stdin:
        secret = trimmed(sys.stdin.buffer.read(PASSWORD_BYTES_MAX + 2))
    else:
        secret = prompted()
    if len(secret) < PASSWORD_CHARS_MIN or len(secret) > PASSWORD_BYTES_MAX or b"\0" in secret:
        raise Problem("a password has 8 to 4096 bytes and no NUL")
    return secret


def trimmed(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")


def prompted() -> bytes:
    if not sys.stdin.isatty():
        raise Problem("no terminal to ask on: --password-stdin, --password-file or --generate")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise Problem("the two are not the same")
    return first.encode()


def failed(problem: Exception) -> int:
    text = (
        f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) else str(problem)
    )
    print(f"sallyport: {text}", file=sys.stderr)
    return 1
