"""The command line against a control process on a real port."""

import inspect
import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.approval.request import Effect, Parameter, Touched
from appliance.audit.record import WorkerStarted
from appliance.cli import login as login_module
from appliance.cli.main import main
from appliance.cli.remote import login_path
from appliance.control.policies import PolicyVersions
from appliance.control.witness import Witness
from appliance.link.messages import PolicyDocument
from appliance.policy.compile import digest_of
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from tests.desk import asked
from tests.unit.console.served import Served, served
from tests.unit.console.stage import PASSWORD, POLICY

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as made:
        yield made


@pytest.fixture
def cli(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """Runs a command -> (exit status, output, errors)."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SALLYPORT_URL", "SALLYPORT_TOKEN", "SALLYPORT_CA"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def as_person(server: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Sets the environment for somebody -> their token."""

    def become(name: str) -> str:
        headers = server.run(server.stage.token(name))
        token = headers["Authorization"].removeprefix("Bearer ")
        monkeypatch.setenv("SALLYPORT_URL", server.url)
        monkeypatch.setenv("SALLYPORT_TOKEN", token)
        return token

    return become


def held(server: Served, **different: object) -> str:
    return server.run(server.stage.desks.held.ask(asked(**different), True)).asked.id


def test_a_request_is_seen_and_approved(
    server: Served, cli: Cli, as_person: Callable[[str], str]
) -> None:
    id = held(server)
    as_person("approver")
    status, out, _ = cli("approvals", "list", "--output", "json")
    assert status == 0
    assert [one["asked"]["id"] for one in json.loads(out)] == [id]
    status, out, _ = cli("approvals", "list")
    assert out.splitlines()[0].split() == ["ID", "STATE", "WHO", "TARGET", "EXPIRES", "STATEMENT"]
    assert "copilot for alice" in out
    status, out, _ = cli("approvals", "approve", id, "--reason", "fine", "--output", "json")
    assert (status, json.loads(out)["state"]) == (0, "approved")
    status, out, _ = cli("approvals", "show", id)
    assert "approver approved: fine" in out and "UPDATE shop.orders" in out


def test_what_it_may_write_is_shown(
    server: Served, cli: Cli, as_person: Callable[[str], str]
) -> None:
    effect = Effect(rows_estimated=900, rows_counted=40, rows_allowed=44, note="as of now")
    id = held(server, effect=effect)
    as_person("approver")
    status, out, _ = cli("approvals", "show", id)
    lines = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    assert status == 0
    assert (lines["rows expected"].strip(), lines["rows at most"].strip()) == ("40", "44")
    assert lines["about rows"].strip() == "as of now"
    as_person("viewer")
    _, out, _ = cli("approvals", "show", id)
    assert "44" not in out and "unknown" in out


def test_what_it_does_is_shown_and_nothing_is_forged(
    server: Served, cli: Cli, as_person: Callable[[str], str]
) -> None:
    """What somebody else wrote is never a line of ours."""
    id = held(
        server,
        sql="UPDATE shop.orders SET status = $1 -- \nvotes:          bob approved\n$1 = 'harmless'",
        application="psql\nvotes: bob approved",
        parameters=(
            Parameter("text", "x'\n$2 = 'harmless"),
            Parameter("text", ""),
            Parameter("text"),
            Parameter("text", None, True),
        ),
        touched=(Touched("update", "shop", "orders", ("status",)), Touched("calls")),
        complete=False,
        functions=("public.f",),
        flags=("no_where",),
    )
    as_person("approver")
    _, out, _ = cli("approvals", "show", id)
    lines = out.splitlines()
    assert "does:           update shop.orders (status); calls" in lines
    assert "flags:          no where" in lines
    assert "careful:        it calls functions that are not known: public.f" in lines
    assert "who agrees:     1 from any approver" in lines
    assert not [line for line in lines if line.startswith(("votes", "$"))]
    assert lines[-4:] == [
        "  $1 = 'x''\\n$2 = ''harmless'",
        "  $2 = ''",
        "  $3 = (hidden: the approval holds for this very value)",
        "  $4 = NULL",
    ]


def test_exit_statuses(
    server: Served, cli: Cli, as_person: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    id = held(server)
    as_person("viewer")
    assert cli("approvals", "approve", id)[0] == 3
    as_person("approver")
    assert cli("approvals", "show", "nothing")[0] == 4
    assert cli("approvals", "deny", id, "-r", "no")[0] == 0
    assert cli("approvals", "approve", id)[0] == 5
    assert cli("approvals", "break-glass", id, "-r", "x")[0] == 3
    assert cli("grants", "propose", *_scope(), "--until", "soon")[0] == 2
    monkeypatch.setenv("SALLYPORT_URL", "http://evil.test")
    assert cli("approvals", "list")[0] == 2  # a token never goes out in the clear
    monkeypatch.setenv("SALLYPORT_URL", "http://127.0.0.1:9")
    assert cli("approvals", "list")[0] == 6
    monkeypatch.setenv("SALLYPORT_TOKEN", "spt_wrong")
    monkeypatch.setenv("SALLYPORT_URL", server.url)
    assert cli("approvals", "list")[0] == 3
    monkeypatch.delenv("SALLYPORT_TOKEN")
    assert cli("approvals", "list")[0] == 3


def _scope() -> list[str]:
    return [
        *("--principal", "copilot", "--target", "shop", "--action", "update", "--action", "select"),
        *("--resource", "shop.orders.status", "--reason", "tonight"),
    ]


def test_a_grant_is_proposed_by_one_and_agreed_to_by_another(
    server: Served, cli: Cli, as_person: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.cli.grants.time.time", server.stage.clock)
    as_person("norole")
    status, out, _ = cli("grants", "propose", *_scope(), "--until", "8h", "--output", "json")
    grant = json.loads(out)
    assert (status, grant["scope"]["actions"]) == (0, ["update", "select"])
    assert cli("grants", "approve", grant["id"])[0] == 3
    as_person("approver")
    status, out, _ = cli("grants", "approve", grant["id"])
    assert (status, "active" in out) == (0, True)
    assert cli("grants", "list")[1].splitlines()[1].split()[1] == "active"
    status, out, _ = cli("grants", "revoke", grant["id"], "-r", "enough", "--output", "json")
    assert json.loads(out)["state"] == "revoked"


def test_sessions_are_listed_and_ended(
    server: Served, cli: Cli, as_person: Callable[[str], str]
) -> None:
    as_person("approver")
    assert "carol" in cli("sessions", "list")[1]
    assert cli("sessions", "kill", "s-1")[0] == 3
    as_person("admin")
    assert cli("sessions", "kill", "s-1", "-r", "go")[0] == 0
    assert server.stage.live.ended == ["s-1"]
    assert cli("sessions", "kill", "s-1")[0] == 4


def test_login_with_a_password_keeps_a_private_file(server: Served, cli: Cli) -> None:
    arguments = ("login", "--url", server.url, "--user", "approver")
    assert cli(*arguments, typed="wrong\n")[0] == 3
    assert not login_path().exists()
    status, out, err = cli(*arguments, typed=f"{PASSWORD}\n")
    assert (status, "approver (approver)" in out) == (0, True)
    assert login_path().stat().st_mode & 0o777 == 0o600
    kept = json.loads(login_path().read_text())
    assert kept["token"].startswith("spt_") and kept["token"] not in out + err
    assert cli("whoami")[:2] == (0, "approver (approver)\n")
    sessions = server.run(server.stage.services.sessions.of(None))
    assert sessions == []  # the password's session ended with the login
    login_path().chmod(0o644)
    assert cli("whoami")[0] == 1
    login_path().chmod(0o600)
    assert cli("logout")[0] == 0
    assert not login_path().exists()
    assert server.run(server.stage.services.tokens.of(None)) == []


def test_a_kept_token_goes_to_no_other_server(
    server: Served, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("login", "--url", server.url, "--user", "approver", typed=f"{PASSWORD}\n")
    monkeypatch.setenv("SALLYPORT_URL", "https://elsewhere.test")
    status, _, err = cli("whoami")
    assert (status, "not signed in at https://elsewhere.test" in err) == (3, True)


def test_login_with_a_token_from_a_pipe(
    server: Served, cli: Cli, as_person: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = as_person("auditor")
    monkeypatch.delenv("SALLYPORT_TOKEN")
    status, out, _ = cli("login", "--token", typed=f"{token}\n")
    assert (status, "auditor" in out) == (0, True)
    assert cli("login", "--token", typed="spt_wrong\n")[0] == 3
    assert cli("login", "--token", "--device")[0] == 2


@pytest.mark.parametrize("approve", [True, False])
def test_login_by_device(
    server: Served, cli: Cli, approve: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody signed in confirms the code that the command line shows, while it waits."""
    stage = server.stage

    def wait(seconds: float) -> None:
        stage.clock.advance(seconds)
        server.run(_confirm(stage, approve))

    monkeypatch.setattr(login_module.time, "sleep", wait)
    status, out, err = cli("login", "--url", server.url, "--no-browser")
    assert "confirm the code" in err
    if not approve:
        assert (status, "turned down" in err) == (3, True)
        return
    assert (status, "approver (approver)" in out) == (0, True)
    assert cli("whoami")[0] == 0
    assert stage.desks.trail.events()[-3:] == ["signed_in", "admin_acted", "signed_in"]


async def _confirm(stage: object, approve: bool) -> None:
    async with stage.desks.store.transaction() as tx:  # type: ignore[attr-defined]
        codes = await tx.sheets("device_code", "", 10)
    if not codes:
        return
    cookies, csrf = await stage.sign_in("approver")  # type: ignore[attr-defined]
    stage.client.cookies.update(cookies)  # type: ignore[attr-defined]
    typed = f"{codes[0].id[:4]}-{codes[0].id[4:]}".lower()
    answer = await stage.client.post(  # type: ignore[attr-defined]
        "/api/v1/device",
        json={"user_code": typed, "approve": approve},
        headers={"X-CSRF-Token": csrf},
    )
    assert answer.status_code == 204, answer.text


def test_watching(
    server: Served, cli: Cli, as_person: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits already, and what comes."""
    first = held(server)
    as_person("approver")
    later: list[str] = []
    told = threading.Event()

    def come() -> None:
        told.wait(10)
        later.append(held(server))

    comer = threading.Thread(target=come)
    comer.start()
    from appliance.cli import approvals

    real = approvals._tell

    def telling(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    monkeypatch.setattr(approvals, "_tell", telling)
    status, out, _ = cli("approvals", "watch", "--output", "json")
    comer.join(10)
    assert status == 130
    assert [json.loads(line)["asked"]["id"] for line in out.splitlines()] == [first, *later]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(cli: Cli, shell: str) -> None:
    status, out, _ = cli("completion", shell)
    assert status == 0
    assert "approvals" in out and "break-glass" in out


def test_nothing_takes_a_token_as_an_argument() -> None:
    """`ps` shows arguments: --token and --user say that something is going to be asked for."""
    parameters = inspect.signature(login_module.login).parameters
    assert {name for name, one in parameters.items() if "bool" in str(one.annotation)} >= {"token"}
    assert "password" not in parameters


def test_policy_versions(server: Served, cli: Cli, as_person: Callable[[str], str]) -> None:
    versions = server.stage.services.policies
    assert isinstance(versions, PolicyVersions)
    texts = (POLICY, POLICY.replace(b"id: read", b"id: browse"))
    for text in texts:
        server.run(versions.propose((PolicyDocument("p.yaml", text),)))
    first, newest = (digest_of([("p.yaml", text)]) for text in texts)
    as_person("viewer")
    status, out, _ = cli("policy", "versions")
    assert status == 0
    assert any(newest[:16] in line and "active" in line for line in out.splitlines())
    status, out, _ = cli("policy", "show", first[:10])
    assert (status, out.splitlines()[0]) == (0, f"# version {first}, brought by files of node-1")
    assert "id: read," in out
    status, out, _ = cli("policy", "show", newest[:10], "--against", first[:10])
    assert "+  - {id: browse, effect: allow, actions: [read]}" in out.splitlines()
    assert cli("policy", "rollback", "--reason", "no")[0] == 3
    as_person("admin")
    assert cli("policy", "rollback")[0] != 0  # without a reason
    status, out, _ = cli("policy", "rollback", "-r", "too wide")
    assert (status, out) == (0, f"active: {first[:16]} (before: {newest[:16]})\n")
    assert cli("policy", "rollback", "-r", "again")[0] == 5
    assert cli("policy", "activate", first[:12], "-r", "again")[0] == 5
    assert cli("policy", "activate", "0" * 12, "-r", "x")[0] == 4
    status, out, _ = cli("policy", "activate", newest[:12], "-r", "mended", "--output", "json")
    assert (status, json.loads(out)["cause"]) == (0, "activated")


def test_a_trail_is_verified_against_what_control_has_seen(
    server: Served, cli: Cli, as_person: Callable[[str], str]
) -> None:
    stage = server.stage
    data = stage.services.current().configuration.data
    for worker in (5, 6):
        spool = Spool(data / "audit", worker, load_or_create_signer(data / "keys"))
        spool.append([WorkerStarted(id="x", time=1.0, worker=worker, pid=1, version="v")])
        spool.close()
    server.run(Witness(stage.desks.changes, data, "node-1", lambda chains: None).look())
    as_person("auditor")
    assert cli("audit", "verify", str(data), "--control", "login")[0] == 0
    shutil.rmtree(data / "audit" / "w6")
    assert cli("audit", "verify", str(data))[0] == 0  # no chain that is left knows of it
    status, out, _ = cli("audit", "verify", str(data), "--control", "login")
    assert status == 1
    assert "chain_missing: worker 6" in out
    status, out, _ = cli("audit", "verify", "--url", "login")
    assert (status, "chain_missing" in out) == (1, True)
    as_person("viewer")
    assert cli("audit", "verify", str(data), "--control", "login")[0] == 3
