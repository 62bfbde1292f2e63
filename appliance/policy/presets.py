"""Policies that need no file: what `sallyport try --policy permissive|observe` means.

The same documents lie in `config/policies` for people to read and copy; a test keeps the two equal.
"""

from collections.abc import Mapping

PERMISSIVE = b"""\
# Everybody who has logged in may do everything; every statement is still identified and recorded.
# A beginning, not a policy: `observe` shows what guards would do, `read-only-masked` bites.
version: 1
mode: enforce
description: Everything is allowed and recorded.
rules:
  - id: allow-everything
    effect: allow
    description: "`everything` includes text that Sallyport does not understand (opaque)."
    actions: [everything]
"""

OBSERVE = b"""\
# Nothing is refused. The audit trail says what these guards would have done ("would be denied"), so
# that a team can watch for a while and then change `mode` to enforce.
version: 1
mode: observe
description: Ordinary work is fine, risky statements are reported, nothing is refused.
rules:
  - id: ordinary-work
    effect: allow
    actions: [read, session, write, calls, create_temporary]

  - id: schema-changes
    effect: hold
    description: Schema changes deserve a second pair of eyes.
    actions: [create, create_function, alter, drop, truncate, comment, maintain]
    message: Schema changes need an approval.

  - id: whole-table-writes
    effect: deny
    actions: [update, delete]
    flags: [no_where, trivial_where]
    message: This changes every row of the table. Add a WHERE that names the rows.

  - id: dangerous
    effect: deny
    actions: [dangerous, admin, two_phase]
    message: This reaches outside the database or changes who may do what.

  - id: reads-secrets
    effect: deny
    actions: [any]
    flags: [reads_system_secrets]
    message: This reads password hashes, statistics or other people's statements.

  - id: not-understood
    effect: deny
    actions: [opaque]
    message: What this text does cannot be seen.
"""

PRESETS: Mapping[str, bytes] = {"permissive": PERMISSIVE, "observe": OBSERVE}
"""Name -> document."""
