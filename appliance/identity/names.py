"""What may be called a principal or a group: names go into logs, application_name, policy and
audit.

Called wherever a name comes from outside (users file, claims, certificates).
"""

NAME_CHARS_MAX = 256
GROUPS_MAX = 512


def acceptable_name(name: str) -> bool:
    """1 to 256 printable characters (no control, no surrogate, no separator but a plain space
    inside)."""
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable() and name == name.strip()
