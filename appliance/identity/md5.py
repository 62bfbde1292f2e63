"""PostgreSQL's `md5` password answer towards a database (documentation 54.2.1,
AuthenticationMD5Password).

Called for upstream logins only: clients of ours never get to use it.
"""

import hashlib

from appliance.model.errors import ProtocolViolation


def md5_answer(user: str, password: bytes, salt: bytes) -> bytes:
    """`salt`: the 4 bytes of AuthenticationMD5Password -> text of the PasswordMessage, without its
    ending NUL.
    """
    if len(salt) != 4:
        raise ProtocolViolation("upstream", "an md5 salt is four bytes")
    inner = _hex(password + user.encode())
    return b"md5" + _hex(inner + salt)


def _hex(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()
