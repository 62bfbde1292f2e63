"""Whether names in a text mean the same to a database that is not encoded in UTF-8.

Asked by `session` before such a text is analysed. The server turns a text into the database's
encoding before it reads it: a name is cut after 63 bytes of that encoding (parser/scansup.c), and
letters beyond ASCII are folded as its locale has it. Our parser cuts and folds in UTF-8. Its rule:
what might be cut or folded in another way is not read alike. Literals do not matter.
"""

import re

from _speedups import sqllex

UTF8 = "UTF8"

SHORT_BYTES_MAX = 31
"""No server encoding takes more than twice the bytes of UTF-8, so this is cut in none."""

_NAME = re.compile(rb'"((?:[^"]|"")*)"|([A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)')


def reads_alike(text: bytes) -> bool:
    """Whether a database of any encoding finds the names in a UTF-8 text that our parser finds."""
    if b'&"' in text:  # U&"\00e9": a name beyond ASCII in ASCII
        return False
    bare = text if text.isascii() else sqllex.redact(text)
    return bare.isascii() or all(_is_sure(*found) for found in _NAME.findall(bare))


def _is_sure(quoted: bytes, plain: bytes) -> bool:
    """Whether a name (one of both is empty) is cut nowhere and folded everywhere as here."""
    name = quoted or plain
    if name.isascii():
        return True
    if len(name) > SHORT_BYTES_MAX:
        return False
    try:
        decoded = name.decode()
    except UnicodeDecodeError:
        return False
    return bool(quoted) or all(c.isascii() or c == c.lower() for c in decoded)
