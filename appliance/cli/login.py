"""`sallyport login | logout | whoami`: who we are to the control process.

Wired into the command line by `cli/main`. Rule: password and token come in by prompt or standard
input, never as arguments.
"""

import contextlib
import getpass
import sys
import time
import webbrowser
from typing import Annotated, Any

from cyclopts import Parameter

from appliance.cli import remote
from appliance.cli.remote import FAILED, NOT_ALLOWED, USAGE, Failed, Login, Output, Remote, asking

CLIENT = "sallyport command line"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
LABEL = "command line"

Url = Annotated[str, Parameter(env_var=remote.URL_VARIABLE, help="The control process's URL.")]


@asking
def login(
    *,
    url: Url = "",
    token: Annotated[
        bool, Parameter(negative="", help="Give an API token (prompt, pipe).")
    ] = False,
    device: Annotated[
        bool, Parameter(negative="", help="Confirm a code in a browser (the default).")
    ] = False,
    user: Annotated[str, Parameter(help="Name of a local user; the password is asked for.")] = "",
    days: Annotated[int, Parameter(help="With --user: how long it lasts.")] = 1,
    ca: Annotated[
        str, Parameter(env_var=remote.CA_VARIABLE, help="PEM file of authorities to trust.")
    ] = "",
    browser: Annotated[bool, Parameter(help="Open the page to confirm at.")] = True,
) -> int:
    """Sign in for the commands that ask the control process.

    What is kept is in ~/.config/sallyport/login.json, readable by you alone. Exit status: 0 done,
    1 failed, 2 usage, 3 not allowed, 6 unreachable.
    """
    if token + device + bool(user) > 1:
        raise Failed(USAGE, "one of --token, --device and --user")
    kept = remote.saved()
    where = (url or (kept.url if kept else "")).rstrip("/")
    if not where:
        raise Failed(USAGE, f"where? --url https://..., or {remote.URL_VARIABLE}")
    authorities = ca or (kept.ca if kept and kept.url == where else "")
    stranger = Login(where, "", authorities)
    if token:
        secret = _secret("API token: ")
    elif user:
        password = _secret(f"Password of {user}: ")
        secret = token_by_password(Remote(stranger), user, password, LABEL, days)
    else:
        secret = _by_device(Remote(stranger), browser)
    found = Login(where, secret, authorities)
    me = Remote(found).get("/api/v1/me")
    path = remote.save(found)
    print(f"signed in at {where} as {_described(me)}; kept in {path}")
    return 0


@asking
def logout(*, url: Url = "") -> int:
    """Revoke the token that `login` got, and forget it."""
    kept = remote.saved()
    if kept is None or (url and kept.url != url.rstrip("/")):
        print("not signed in")
        return 0
    with contextlib.suppress(Failed):  # expired or unreachable: it is forgotten all the same
        _revoke(Remote(kept), kept.token)
    remote.login_path().unlink(missing_ok=True)
    print(f"signed out at {kept.url}")
    return 0


@asking
def whoami(*, url: Url = "", output: Output = "table") -> int:
    """Say who one is to the control process, and with which roles."""
    me = Remote(remote.chosen(url)).get("/api/v1/me")
    if output == "json":
        remote.show_json(me)
    else:
        print(_described(me))
    return 0


def _described(me: dict[str, Any]) -> str:
    roles = ", ".join(me["roles"]) or "no role"
    return remote.plain(f"{me['name']} ({roles})")


def _secret(prompt: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline(8_192).rstrip("\r\n")


def token_by_password(server: Remote, user: str, password: str, label: str, days: int) -> str:
    """A new API token of a local user, with all roles of theirs; the demo makes its approver's so.
    Raises Failed."""
    answer = server.ask("POST", "/sign-in", {"name": user, "password": password})
    cookies = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
    headers = {"Cookie": cookies, "X-CSRF-Token": answer.content["csrf"]}
    made = server.ask(
        "POST", "/api/v1/tokens", {"label": label, "days": days}, headers=headers
    ).content
    server.ask("POST", "/sign-out", {}, headers=headers)
    return str(made["token"])


def _by_device(server: Remote, browser: bool) -> str:
    """RFC 8628."""
    begun = server.post("/device/authorize", {"client_id": CLIENT})
    print(f"open {remote.plain(begun['verification_uri'])}", file=sys.stderr)
    print(f"and confirm the code {remote.plain(begun['user_code'])}", file=sys.stderr)
    if browser and sys.stderr.isatty():
        webbrowser.open(str(begun["verification_uri_complete"]))
    wait, ends = float(begun["interval"]), time.monotonic() + float(begun["expires_in"])
    asked = {"grant_type": DEVICE_GRANT, "device_code": begun["device_code"], "client_id": CLIENT}
    while time.monotonic() < ends:
        time.sleep(wait)
        answer = server.ask("POST", "/device/token", asked, accept=frozenset({400}))
        if answer.status == 200:
            return str(answer.content["access_token"])
        match answer.content.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                wait += 5.0  # RFC 8628, 3.5
            case "access_denied":
                raise Failed(NOT_ALLOWED, "it was turned down")
            case _:
                break
    raise Failed(FAILED, "nobody confirmed the code in time")


def _revoke(server: Remote, secret: str) -> None:
    import hashlib

    id = hashlib.sha256(secret.encode()).hexdigest()
    server.ask("DELETE", f"/api/v1/tokens/{id}")
