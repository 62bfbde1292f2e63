"""policy.json, the corpus's own form, as Sallyport's policy, users and configuration.

Used by `stage`. Two targets stand for the same server: `masked`, where whoever is in the group
`owing` owes the masks, and `guarded`, where nobody owes any and statements that do damage are
refused to everybody. Rule: only what the product offers everybody, no setting made for the test.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

MASKED, GUARDED = "masked", "guarded"
OWING = "owing"
TEMPORARY = "*.pg_temp.*"
PLAIN_USER = "rt_plain"

Document = dict[str, Any]


def logins(policy: Mapping[str, Any]) -> dict[str, str]:
    """User -> password: those of policy.json, and one who never owes."""
    named: dict[str, str] = dict(policy["roles"].values())
    return {**named, PLAIN_USER: f"{PLAIN_USER}_pw"}


def columns(policy: Mapping[str, Any]) -> list[str]:
    """The sensitive columns as globs that hold in every database."""
    return [
        f"*.{_quoted(schema)}.{_quoted(relation)}.{'*' if column == '*' else _quoted(column)}"
        for path, names in policy["sensitive"].items()
        for schema, relation in [path.split(".", 1)]
        for column in names
    ]


def policy_document(
    policy: Mapping[str, Any], mask: Document, everything: bool = False
) -> Document:
    """Our policy. `mask`: of every sensitive column. `everything`: on `masked`, every action is
    allowed, so that nothing but the masks stands between a principal and the data."""
    work = (
        ["everything"] if everything else ["read", "session", "write", "create_temporary", "calls"]
    )
    masked: Document = {"targets": {"names": [MASKED]}}
    guarded: Document = {"targets": {"names": [GUARDED]}}
    owing: Document = {**masked, "principals": {"groups": [OWING]}}
    rules: list[Document] = [
        {"id": "work", "effect": "allow", **owing, "actions": work},
        {
            "id": "owes-nothing",
            "effect": "allow",
            **masked,
            "principals": {"not_groups": [OWING]},
            "actions": ["everything"],
        },
        {
            "id": "sensitive",
            "effect": "mask",
            **owing,
            "classifications": ["sensitive"],
            "mask": mask,
        },
        _own_tables("own-tables", owing),
        *_guards(guarded),
    ]
    if not everything:
        rules.append(_refused("no-secrets", owing, ["any"], flags=["reads_system_secrets"]))
    return {
        "version": 1,
        "description": "Made from policy.json.",
        "classifications": {"sensitive": columns(policy)},
        "rules": rules,
    }


def mask_of(method: str, unique_writes: str = "allow") -> Document:
    """A mask by its method's name alone, with the least that the method asks for."""
    needed: dict[str, Document] = {
        "fixed": {"value": "hidden"},
        "keep_first": {"keep": 1},
        "keep_last": {"keep": 1},
        "token": {"key": "default"},
        "truncate_date": {"unit": "year"},
        "truncate_number": {"step": 1_000_000},
    }
    return {"method": method, "unique_writes": unique_writes, **needed.get(method, {})}


def _own_tables(name: str, where: Document) -> Document:
    """Who may make temporary tables may change them and do away with them, as the shipped preset
    has it."""
    actions = ["create", "alter", "comment", "maintain", "truncate", "lock", "drop"]
    return {"id": name, "effect": "allow", **where, "actions": actions, "resources": [TEMPORARY]}


def _guards(guarded: Document) -> list[Document]:
    return [
        {
            "id": "ordinary-work",
            "effect": "allow",
            **guarded,
            "actions": ["read", "session", "write", "create_temporary"],
        },
        _own_tables("own-guarded-tables", guarded),
        _refused(
            "no-whole-table-writes", guarded, ["update", "delete"], ["no_where", "trivial_where"]
        ),
        _refused("no-end-in-sight", guarded, ["any"], ["unbounded"]),
        _refused("no-locks", guarded, ["lock"]),
        _refused("no-way-out", guarded, ["dangerous", "admin"]),
        _refused("no-catalog-writes", guarded, ["any"], ["reads_system_secrets"]),
    ]


def _refused(
    name: str, where: Document, actions: list[str], flags: Collection[str] = ()
) -> Document:
    rule = {"id": name, "effect": "deny", **where, "actions": actions}
    return {**rule, "flags": list(flags)} if flags else rule


def configuration(port: int, users: Collection[str]) -> Document:
    """sallyport.yaml for PostgreSQL at 127.0.0.1:`port`; everybody works there as themselves."""
    roles = [
        {"principals": [user], "user": user, "credential": f"file:{user}.secret"} for user in users
    ]
    return {
        "version": 1,
        "data": "data",
        "workers": 1,
        "admin": "127.0.0.1:0",
        "listeners": [
            {"name": name, "address": "127.0.0.1:0", "target": name, "tls": {"mode": "disable"}}
            for name in (MASKED, GUARDED)
        ],
        "targets": [
            {
                "name": name,
                "host": "127.0.0.1",
                "port": port,
                "tls": {"mode": "disable"},
                "roles": roles,
                "announce": "variable",  # application_name stays what the client set
            }
            for name in (MASKED, GUARDED)
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
        "token_keys": {"default": "file:token.secret"},
    }


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _quoted(name: str) -> str:
    plain = name.replace("_", "").isalnum() and name.isascii()
    return name if plain else '"' + name.replace('"', '""') + '"'
