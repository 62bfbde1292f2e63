"""`sallyport try postgresql://user:password@host:port/db`: one governed listener in front of any
database, no file needed.

For whoever knows that user and password: the same pair logs in here. Tests, benches and conformance
runs use it, too.
"""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from appliance.cli.place import PASSWORD_VARIABLES, Place, hide_password
from appliance.config.spoken import SPOKEN
from appliance.config.values import Address
from appliance.control.documents import validate
from appliance.control.sockets import Bound
from appliance.control.supervisor import Service, run_service
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from appliance.link.messages import Documents, PolicyDocument
from appliance.policy.presets import PRESETS


def try_(
    uri: str,
    *,
    listen: str = "127.0.0.1:6432",
    policy: str = "permissive",
    workers: int = 1,
    data: Path | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    durability: str = "os",
    pooling: str = "none",
    schema_check: str = "statement",
    log_level: str = "warning",
) -> int:
    """Puts one governed listener in front of a database, for whoever knows its user and password.

    Parameters
    ----------
    uri
        postgresql://user:password@host:port/database[?sslmode=MODE&sslrootcert=FILE], or any of
        the other kinds of databases that a target may have; its scheme is the dialect's name. The
        password may come from the variable that the database's own client has for it.
    listen
        Address to listen on; port 0 takes a free one.
    policy
        permissive, observe, or a policy file.
    workers
        Worker processes.
    data
        Folder for the audit trail; a new temporary one when left out.
    tls_certificate
        PEM chain: with it and its key, clients may use TLS.
    tls_key
        PEM private key of the certificate.
    durability
        os or disk, as in the configuration file.
    pooling
        none, session or transaction, as in the configuration file; transaction:8 for 8 connections.
    schema_check
        statement, lease or poll, as in the configuration file.
    log_level
        debug, info, warning or error.
    """
    try:
        hide_password(uri)
        place = Place(uri)
        folder = (data or Path(tempfile.mkdtemp(prefix="sallyport-try-"))).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        listening = {"address": str(Address(listen)), "tls": _tls(tls_certificate, tls_key)}
        documents = _documents(
            place, folder, listening, policy, workers, durability, log_level, pooling, schema_check
        )
        first = validate(documents)
    except (ValueError, OSError) as error:
        print(f"sallyport: {error}", file=sys.stderr)
        return 2
    finally:
        for variable in PASSWORD_VARIABLES.values():
            os.environ.pop(variable, None)

    def ready(bound: tuple[Bound, ...]) -> None:
        _say_ready({one.name: one for one in bound}, place, folder)

    return run_service(Service(first=first, workers=workers, on_ready=ready))


def _pooling(asked: str) -> dict[str, object]:
    mode, colon, servers = asked.partition(":")
    if not colon:
        return {"mode": mode}
    if not servers.isdecimal():
        raise ValueError(
            f"--pooling {asked}: behind the colon stands how many connections, as in transaction:8"
        )
    return {"mode": mode, "servers_max": int(servers)}


def _say_ready(where: dict[str, Bound], place: Place, folder: Path) -> None:
    main, admin = where["try"], where["admin"]
    print(
        f"ready {place.dialect} {_shown(main)} admin={_shown(admin)} data={folder}",
        flush=True,
    )
    print(  # after the one line that programs wait for
        f"connect:  {_command(main, place)}   (with the same password)\n"
        f"audit:    sallyport audit tail --data {folder}",
        flush=True,
    )


def _command(bound: Bound, place: Place) -> str:
    """What a person types to get there."""
    return SPOKEN[place.dialect].command(bound.host, bound.port, place.user, place.database)


def _shown(bound: Bound) -> str:
    host = f"[{bound.host}]" if ":" in bound.host else bound.host
    return f"{host}:{bound.port}"


def _tls(certificate: Path | None, key: Path | None) -> dict[str, str]:
    if certificate is None or key is None:
        if certificate or key:
            raise ValueError("--tls-certificate and --tls-key belong together")
        return {"mode": "disable"}
    return {
        "mode": "allow",
        "certificate": str(certificate.absolute()),
        "key": str(key.absolute()),
    }


def _documents(
    place: Place,
    folder: Path,
    listening: Mapping[str, object],
    policy: str,
    workers: int,
    durability: str,
    log_level: str,
    pooling: str,
    schema_check: str,
) -> Documents:
    credential = _private_file(folder / "try.password", place.password)
    verifier = make_verifier(place.password, secrets.token_bytes(16)).render()
    directory = Directory([User(name=place.user, groups=("try",), verifier=verifier)])
    token_key = folder / "try.token.key"
    if not token_key.exists():  # kept, so that tokens stay the same from run to run
        _private_file(token_key, secrets.token_hex(32))
    users = _private_file(folder / "try.users.yaml", render_users(directory))
    configuration = {
        "data": str(folder),
        "workers": workers,
        "durability": durability,
        "log_level": log_level,
        "admin": "127.0.0.1:0",
        "listeners": [{"name": "try", "target": "try", **listening}],
        "targets": [
            {
                "name": "try",
                "host": place.host,
                "port": place.port,
                "dialect": place.dialect,
                "tls": place.tls,
                "announce": "variable",
                "pooling": _pooling(pooling),
                "schema_check": schema_check,
                "roles": [
                    {
                        "principals": [place.user],
                        "user": place.user,
                        "credential": f"file:{credential}",
                    }
                ],
            }
        ],
        "identities": {"users": str(users)},
        "token_keys": {"default": f"file:{token_key}"},
    }
    text = yaml.safe_dump(configuration, sort_keys=False).encode()
    document = PRESETS.get(policy)
    name = policy
    if document is None:
        document = Path(policy).read_bytes()
        name = str(Path(policy).absolute())
    return Documents(1, text, "", (PolicyDocument(name, document),))


def _private_file(path: Path, content: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    return path
