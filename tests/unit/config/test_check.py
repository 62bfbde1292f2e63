"""Deeper checks: each mistake is found at its place, and a sound configuration has no findings."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.cli.authority import issue, make_authority
from appliance.config.check import Checkers, Finding, Severity, check
from appliance.config.load import parse
from appliance.config.values import CredentialReference


def now() -> datetime.datetime:
    """Asked when it is needed: a certificate made later is not valid yet at an earlier moment."""
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    issue(tmp_path, "localhost")
    issue(tmp_path, "other")
    for name in ("users.yaml", "policy.yaml", "password"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    return tmp_path


def sound(folder: Path) -> dict[str, Any]:
    return {
        "data": str(folder / "data"),
        "listeners": [
            {
                "name": "l",
                "address": "127.0.0.1:6432",
                "target": "t",
                "tls": {"certificate": "localhost.crt", "key": "localhost.key"},
            }
        ],
        "targets": [
            {
                "name": "t",
                "host": "db",
                "tls": {"ca": "ca.crt"},
                "roles": [{"principals": ["*"], "user": "u", "credential": "file:password"}],
            }
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
    }


def findings(tree: dict[str, Any], folder: Path, **checkers: Any) -> list[Finding]:
    configuration = parse(yaml.safe_dump(tree), folder=folder)
    return check(configuration, Checkers(**checkers), now())


def paths(found: list[Finding], severity: Severity = Severity.ERROR) -> set[str]:
    return {finding.path for finding in found if finding.severity is severity}


def test_sound(folder: Path) -> None:
    assert findings(sound(folder), folder) == []


def complain(*arguments: object) -> None:
    raise ValueError("not good")


def test_given_checkers_are_asked(folder: Path) -> None:
    tree = sound(folder)
    tree["token_keys"] = {"default": "file:password"}
    found = findings(
        tree,
        folder,
        compile_policy=complain,
        parse_users=complain,
        parse_key_set=complain,
        resolve_credential=complain,
    )
    assert paths(found) == {
        "$.policy.files",
        "$.identities.users",
        "$.targets[0].roles[0].credential",
        "$.token_keys.default",
    }
    assert {finding.message for finding in found} == {"not good"}


def test_what_they_are_given(folder: Path) -> None:
    given: list[object] = []
    findings(
        sound(folder),
        folder,
        compile_policy=given.append,
        resolve_credential=given.append,
        parse_users=lambda text, file: given.append((text, file)),
    )
    assert [(str(folder / "policy.yaml"), b"x")] in given
    assert CredentialReference(f"file:{folder / 'password'}") in given
    assert ("x", "users.yaml") in given


def test_environment_of_this_shell_is_only_a_warning(folder: Path) -> None:
    tree = sound(folder)
    tree["targets"][0]["roles"][0]["credential"] = "env:PASSWORD"
    found = findings(tree, folder, resolve_credential=complain)
    assert paths(found) == set()
    assert paths(found, Severity.WARNING) == {"$.targets[0].roles[0].credential"}


def test_names_and_references(folder: Path) -> None:
    tree = sound(folder)
    tree["listeners"].append({**tree["listeners"][0], "target": "nowhere"})
    tree["targets"].append(tree["targets"][0])
    assert paths(findings(tree, folder)) == {
        "$.listeners[1].name",
        "$.listeners[1].address",
        "$.listeners[1].target",
        "$.targets[1].name",
    }


def test_methods_need_their_identities(folder: Path) -> None:
    tree = sound(folder)
    tree["listeners"][0]["authentication"] = ["scram", "oidc", "certificate"]
    tree["listeners"][0]["tls"].update(client_ca="ca.crt", client_certificates="optional")
    tree["identities"] = {}
    assert paths(findings(tree, folder)) == {
        "$.identities.users",
        "$.identities.oidc",
        "$.identities.certificates",
    }


def test_files(folder: Path) -> None:
    tree = sound(folder)
    tree["listeners"][0]["tls"]["key"] = "other.key"
    tree["targets"][0]["tls"]["ca"] = "password"
    tree["identities"]["users"] = "none.yaml"
    tree["policy"]["files"].append("none.yaml")
    tree["data"] = str(folder / "no" / "where")
    assert paths(findings(tree, folder)) == {
        "$.listeners[0].tls.certificate",
        "$.targets[0].tls.ca",
        "$.identities.users",
        "$.policy.files[1]",
        "$.data",
    }


def test_encrypted_and_missing_keys(folder: Path) -> None:
    tree = sound(folder)
    (folder / "localhost.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert paths(findings(tree, folder)) == {"$.listeners[0].tls.key"}
    (folder / "localhost.key").unlink()
    assert paths(findings(tree, folder)) == {"$.listeners[0].tls.key"}


@pytest.mark.parametrize(("days", "severity"), [(400, Severity.ERROR), (390, Severity.WARNING)])
def test_dates(folder: Path, days: int, severity: Severity) -> None:
    configuration = parse(yaml.safe_dump(sound(folder)), folder=folder)
    found = check(configuration, Checkers(), now() + datetime.timedelta(days=days))
    assert paths(found, severity) == {"$.listeners[0].tls.certificate"}


def test_warnings(folder: Path) -> None:
    tree = sound(folder)
    (folder / "localhost.key").chmod(0o644)
    (folder / "users.yaml").chmod(0o640)
    tree["listeners"][0]["address"] = ":6432"
    tree["listeners"].append(
        {"name": "plain", "address": ":6433", "target": "t", "tls": {"mode": "disable"}}
    )
    tree["targets"].append({**tree["targets"][0], "name": "u", "tls": {"mode": "prefer"}})
    tree["policy"] = {}
    found = findings(tree, folder)
    assert paths(found) == set()
    assert paths(found, Severity.WARNING) == {
        "$.listeners[0].tls.key",
        "$.listeners[1].tls.mode",
        "$.identities.users",
        "$.targets[1]",
        "$.targets[1].tls.mode",
        "$.policy.files",
    }


def test_pooling_and_the_admin_database(folder: Path) -> None:
    tree = sound(folder)
    target = tree["targets"][0]
    target["pooling"] = {"mode": "session"}
    tree["admin_database"] = {"groups": ["operators"]}
    assert findings(tree, folder) == []
    target["pooling"] = {"spare": 1}
    assert paths(findings(tree, folder)) == {"$.targets[0].pooling.spare"}
    target["pooling"] = {"mode": "session", "idle_s_max": 20, "lifetime_s_max": 10}
    warned = paths(findings(tree, folder), Severity.WARNING)
    assert warned == {"$.targets[0].pooling.idle_s_max"}
    target["pooling"] = {"mode": "session", "lifetime_s_max": 7200}
    warned = paths(findings(tree, folder), Severity.WARNING)
    assert warned == {"$.targets[0].pooling.lifetime_s_max"}
    target["pooling"] = {}
    target["databases"] = ["sallyport"]
    assert paths(findings(tree, folder)) == {"$.admin_database.name"}
    del target["databases"]
    tree["listeners"][0]["targets"] = {"sallyport": "t"}
    del tree["listeners"][0]["target"]
    assert paths(findings(tree, folder)) == {"$.listeners[0].targets.sallyport"}


@pytest.mark.parametrize("wrong", [{"spare": 30}, {"idle_per_key_max": 200}])
def test_pooling_beyond_itself(folder: Path, wrong: dict[str, int]) -> None:
    tree = sound(folder)
    tree["targets"][0]["pooling"] = {"mode": "session", **wrong}
    with pytest.raises(ValueError, match="pooling"):
        findings(tree, folder)


def test_the_control_process(folder: Path) -> None:
    tree = sound(folder)
    tree["control"] = {
        "roles": {"approver": ["dba"]},
        "store": "postgresql://u@h/d",
        "store_password": "file:password",
        "store_ca": "ca.crt",
        "tls": {"certificate": "localhost.crt", "key": "localhost.key"},
    }
    assert findings(tree, folder) == []
    (folder / "password").chmod(0o644)
    tree["control"] |= {
        "roles": {},
        "store_ca": "absent.crt",
        "tls": {"certificate": "localhost.crt", "key": "other.key"},
        "sign_in": {
            "oidc": [
                {
                    "name": "o",
                    "issuer": "https://i",
                    "discovery_url": "https://i/d",
                    "client_id": "c",
                    "client_secret": "env:NOBODY",
                }
            ]
        },
        "notify": {
            "webhooks": [{"name": "w", "url": "https://w", "secret": "file:absent"}],
            "slack": {
                "token": "file:absent",
                "signing_secret": "file:absent",
                "channel": "c",
            },
            "mail": {
                "server": "m:25",
                "sender": "s@m",
                "recipients": {"*": ["r@m"]},
                "user": "u",
                "password": "file:absent",
            },
        },
    }
    asked_for: list[CredentialReference] = []
    found = findings(tree, folder, resolve_credential=asked_for.append)
    assert paths(found) == {"$.control.store_ca", "$.control.tls.certificate"}
    loose = {"$.control.store_password", "$.control.roles.approver"}
    assert loose <= paths(found, Severity.WARNING)
    assert [Path(one.name).name for one in asked_for if one.source.value == "file"] == [
        *("password", "password"),  # the target's, the store's
        *("absent", "absent", "absent", "absent"),
    ]
    assert CredentialReference("env:NOBODY") in asked_for
