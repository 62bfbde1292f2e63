"""The composed process, as `sallyport control` runs it: on a real port, with TLS, killed and begun
anew."""

import os
import secrets
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from appliance.console.policy_cases import examine
from appliance.control.desk import Tested
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from appliance.link.messages import PolicyDocument
from appliance.link.spawning import module_command, module_environment
from tests.clusters import Authority
from tests.unit.console.stage import CONFIGURATION, PASSWORD, POLICY

MORE = """
  run: separate
  socket: {folder}/control.sock
  tls: {{certificate: {certificate}, key: {key}}}
identities: {{users: {folder}/users.yaml}}
policy: {{files: [{folder}/policy.yaml]}}
"""


def configured(folder: Path) -> tuple[Path, Path]:
    """(configuration file, the authority's certificate)."""
    authority = Authority.create(folder / "ca")
    pair = authority.issue("console", "127.0.0.1", "localhost")
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16), 16).render()
    bob = User(name="bob", groups=("approvers", "auditors", "lookers"), verifier=verifier)
    (folder / "users.yaml").write_text(render_users(Directory([bob])))
    (folder / "policy.yaml").write_bytes(POLICY)
    file = folder / "sallyport.yaml"
    more = MORE.format(folder=folder, certificate=pair.certificate, key=pair.key)
    file.write_text(CONFIGURATION.format(data=folder / "kept", url="''", more=more))
    (folder / "kept").mkdir(exist_ok=True)
    return file, authority.certificate


@contextmanager
def running(file: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        module_command("appliance.console.serve", "--config", str(file)),
        env=module_environment(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:2] == ["ready", "control"], words
        yield process, f"https://{words[2]}"
    finally:
        process.kill()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def test_what_people_have_survives_a_kill(tmp_path: Path) -> None:
    file, authority = configured(tmp_path)
    trust = ssl.create_default_context(cafile=str(authority))
    with running(file) as (process, url), httpx.Client(base_url=url, verify=trust) as client:
        me = client.post("/sign-in", json={"name": "bob", "password": PASSWORD})
        assert me.json()["roles"] == ["approver", "auditor", "viewer"]
        headers = {"X-CSRF-Token": me.json()["csrf"]}
        made = client.post("/api/v1/tokens", json={"label": "x"}, headers=headers).json()
        bearer = {"Authorization": f"Bearer {made['token']}"}
        assert client.get("/api/v1/requests", headers=bearer).json()["requests"] == []
        assert client.get("/api/v1/policy", headers=bearer).json()["version"]
        process.send_signal(signal.SIGKILL)
    with running(file) as (process, url), httpx.Client(base_url=url, verify=trust) as client:
        assert client.get("/api/v1/me", headers=bearer).json()["name"] == "bob"
        found = client.get("/api/v1/audit/records", headers=bearer).json()["records"]
        events = [one["record"]["event"] for one in reversed(found)]
        assert [e for e in events if not e.startswith("control")] == ["signed_in", "admin_acted"]
        chain = client.get("/api/v1/audit/chain", headers=bearer).json()
        assert (chain["ok"], chain["report"]["errors"]) == (True, 0)
        kept = (tmp_path / "kept" / "control.sqlite").read_bytes()
        assert made["token"].encode() not in kept
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


CASES = """
tables: {public.customers: [id int, email text]}
principals: {amy: {groups: [lookers]}}
database: shop
target: {name: shop}
cases:
  - {as: amy, sql: select email from customers, expect: EXPECTED}
"""


def test_policy_test_cases_are_run_for_whatever_policy_is_brought() -> None:
    policy = (PolicyDocument("/etc/p.yaml", POLICY),)

    def tested(text: str) -> Tested:
        return examine(policy, (PolicyDocument("/etc/c.yaml", text.encode()),))

    assert tested(CASES.replace("EXPECTED", "allow")) == Tested(1)
    failed = tested(CASES.replace("EXPECTED", "deny"))
    assert (failed.cases, failed.failed, failed.sound) == (1, 1, False)
    assert failed.failures[0].startswith("c.yaml: case 1: expected deny, got allow")
    assert "c.yaml" in tested("cases: 7").error
    assert tested("\x00").error
