"""`sallyport check-config FILE` and `sallyport config schema`: is a configuration sound, and what
may be in it."""

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from appliance.config.check import Checkers, Finding, Severity, check
from appliance.config.jsonschema import schema_text
from appliance.config.load import ConfigurationError, load

config_app = App(name="config", help="Print the configuration's JSON Schema, or check a file.")


@config_app.command
def schema() -> int:
    """Print the JSON Schema of the configuration file."""
    sys.stdout.write(schema_text())
    return 0


@config_app.command(name="check")
def check_config(
    file: Path,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="As JSON lines.")] = False,
    strict: Annotated[bool, Parameter(negative="", help="Warnings count as errors.")] = False,
) -> int:
    """Check a configuration file and everything it names. Exit status 1 when it would not work."""
    try:
        configuration = load(file)
    except ConfigurationError as problem:
        findings = [Finding(Severity.ERROR, problem.path, problem.message, problem.hint)]
    else:
        findings = check(configuration, checkers(), datetime.datetime.now(datetime.UTC))
    for finding in findings:
        print(as_line(finding) if as_json else as_text(finding, file))
    bad = [f for f in findings if strict or f.severity is Severity.ERROR]
    if not as_json:
        print(f"{file}: {'not ' if bad else ''}ok", file=sys.stderr)
    return 1 if bad else 0


def checkers() -> Checkers:
    """The other packages' own checks."""
    from appliance.config.credentials import resolve
    from appliance.identity.token_keys import TokenKeys
    from appliance.identity.verifiers import parse_users
    from appliance.policy.compile import compile_documents

    return Checkers(
        compile_policy=compile_documents,
        parse_users=parse_users,
        parse_key_set=TokenKeys.parse,
        resolve_credential=lambda reference: resolve(reference, os.environ),
    )


def as_text(finding: Finding, file: Path) -> str:
    hint = f" ({finding.hint})" if finding.hint else ""
    return f"{finding.severity.value}: {file}: {finding.path}: {finding.message}{hint}"


def as_line(finding: Finding) -> str:
    return json.dumps(
        {
            "severity": finding.severity.value,
            "path": finding.path,
            "message": finding.message,
            "hint": finding.hint,
        },
        ensure_ascii=False,
    )
