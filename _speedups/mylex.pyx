"""The lexical rules of MySQL and MariaDB: bytes of a text -> tokens, and the text without its
literals, without its comments, or with marks in place of its constants.

Called by sql/mysql for every text. Rule: linear time and no failure for any bytes; where the text
does not lex, more of it counts as literal, never less.

Follows sql/sql_lex.cc (lex_one_token) of MariaDB 10.11 and MySQL 8.0 for encodings in which no byte
below 128 is part of a longer character (utf8mb4, utf8mb3, ascii, latin1): a text in another one
(gbk, sjis, big5...) must not come here. A character set introducer is a name of its own: it changes
what a string's bytes mean, not where it ends.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

from _speedups.growing cimport Output, must_add

ANSI_QUOTES = 1
NO_BACKSLASH_ESCAPES = 2

KIND_NAMES = (
    "space", "comment", "string", "number", "parameter", "name", "quoted_name", "variable",
    "operator", "other", "executable", "executable_end", "hint",
)

cdef enum Kind:
    SPACE = 0
    COMMENT = 1
    STRING = 2
    NUMBER = 3
    PARAMETER = 4  # ?
    NAME = 5
    QUOTED_NAME = 6
    VARIABLE = 7  # @name, @'name', @@name: the sign and, of @name, the name
    OPERATOR = 8
    OTHER = 9
    EXECUTABLE = 10  # the mark that begins a comment that servers run: /*! /*!50000 /*M!
    EXECUTABLE_END = 11  # */ outside a comment
    HINT = 12  # /*+ ... */

cdef enum Class:
    IS_SPACE = 1
    NAME_PART = 2
    DIGIT = 4
    HEX = 8
    CONTROL = 16

cdef uint8_t[256] CLASSES


cdef void fill_classes():
    cdef int byte
    for byte in range(256):
        CLASSES[byte] = 0
        if 97 <= (byte | 0x20) <= 122 or byte in (95, 36) or byte >= 128:
            CLASSES[byte] = NAME_PART
        if 48 <= byte <= 57:
            CLASSES[byte] = DIGIT | NAME_PART | HEX
        if 97 <= (byte | 0x20) <= 102 and byte < 128:
            CLASSES[byte] |= HEX
        if byte < 32 or byte == 127:
            CLASSES[byte] |= CONTROL
    for byte in b" \t\n\r\f\v":
        CLASSES[byte] |= IS_SPACE


fill_classes()


cdef struct Lexer:
    const uint8_t* begin
    const uint8_t* at
    const uint8_t* end
    bint ansi_quotes
    bint backslashes
    bint broken
    int last  # kind of the last token
    bint qualifies  # the last token was a dot right behind a name: digits may be a name now


cdef struct Token:
    int kind
    const uint8_t* start
    const uint8_t* end


cdef inline bint has(const uint8_t* at, const uint8_t* end, uint8_t classes) noexcept nogil:
    return at < end and CLASSES[at[0]] & classes != 0


cdef inline bint follows(const uint8_t* at, const uint8_t* end, uint8_t byte) noexcept nogil:
    return at < end and at[0] == byte


cdef Lexer lexer_of(bytes text, int modes):
    return lexer_at(
        <const uint8_t*>PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text), modes
    )


cdef Lexer lexer_at(const uint8_t* text, size_t size, int modes) noexcept:
    cdef Lexer lexer
    lexer.begin = lexer.at = text
    lexer.end = text + size
    lexer.ansi_quotes = modes & 1 != 0
    lexer.backslashes = modes & 2 == 0
    lexer.broken = False
    lexer.last = SPACE
    lexer.qualifies = False
    return lexer


cdef bint next_token(Lexer* lexer, Token* token) noexcept nogil:
    """Reads one token; False at the end of the text."""
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef bint named = lexer.last == NAME
    cdef bint qualified = lexer.qualifies
    if at >= end:
        return False
    token.start = at
    lexer.qualifies = False
    if qualified and has(at, end, NAME_PART):
        token.kind = NAME
        at = name_end(at, end)
    else:
        at = read_token(lexer, token)
        if named and token.kind == OTHER and token.start[0] == 46:
            lexer.qualifies = True
    token.end = at
    lexer.at = at
    lexer.last = token.kind
    return True


cdef const uint8_t* read_token(Lexer* lexer, Token* token) noexcept nogil:
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef uint8_t byte = at[0]
    cdef uint8_t classes = CLASSES[byte]
    if classes & IS_SPACE:
        token.kind = SPACE
        while has(at, end, IS_SPACE):
            at += 1
        return at
    if classes & DIGIT or (
        byte == 46 and has(at + 1, end, DIGIT) and lexer.last != NAME
    ):
        return number_or_name(lexer, token)
    if classes & NAME_PART:
        return name_or_string(lexer, token)
    if byte == 39 or (byte == 34 and not lexer.ansi_quotes):
        token.kind = STRING
        return string_end(lexer, at + 1, byte, lexer.backslashes)
    if byte == 34 or byte == 96:
        token.kind = QUOTED_NAME
        return string_end(lexer, at + 1, byte, False)
    if byte == 35 or (
        byte == 45 and follows(at + 1, end, 45)
        and (at + 2 >= end or CLASSES[at[2]] & (IS_SPACE | CONTROL))
    ):
        token.kind = COMMENT
        return line_end(at, end)
    if byte == 47 and follows(at + 1, end, 42):
        return comment_or_mark(lexer, token)
    if byte == 42 and follows(at + 1, end, 47):
        token.kind = EXECUTABLE_END
        return at + 2
    if byte == 64:
        token.kind = VARIABLE
        return variable_end(lexer, at + 1)
    if byte == 63:
        token.kind = PARAMETER
        if has(at + 1, end, NAME_PART):
            lexer.broken = True
        return at + 1
    return operator_or_other(lexer, token)


cdef const uint8_t* name_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while has(at, end, NAME_PART):
        at += 1
    return at


cdef const uint8_t* name_or_string(Lexer* lexer, Token* token) noexcept nogil:
    """A name, or a literal that begins with a letter: N'' X'' B''."""
    cdef const uint8_t* at = lexer.at
    cdef uint8_t letter = at[0] | 0x20
    if at[0] < 128 and follows(at + 1, lexer.end, 39):
        if letter == 110:
            token.kind = STRING
            return string_end(lexer, at + 2, 39, lexer.backslashes)
        if letter == 120 or letter == 98:
            token.kind = NUMBER
            return string_end(lexer, at + 2, 39, False)
    token.kind = NAME
    return name_end(at, lexer.end)


cdef const uint8_t* string_end(
    Lexer* lexer, const uint8_t* at, uint8_t quote, bint backslashes
) noexcept nogil:
    """Past the quote that closes what was opened before `at`; a doubled one does not."""
    cdef const uint8_t* end = lexer.end
    while at < end:
        if at[0] == 92 and backslashes:
            at += 2
            continue
        if at[0] == quote:
            if not follows(at + 1, end, quote):
                return at + 1
            at += 1
        at += 1
    lexer.broken = True
    return end


cdef const uint8_t* line_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Only a line feed ends such a comment, a carriage return does not."""
    while at < end and at[0] != 10:
        at += 1
    return at


cdef const uint8_t* comment_or_mark(Lexer* lexer, Token* token) noexcept nogil:
    cdef const uint8_t* at = lexer.at + 2
    cdef const uint8_t* end = lexer.end
    cdef int digits = 0
    if follows(at, end, 33) or (follows(at, end, 77) and follows(at + 1, end, 33)):
        token.kind = EXECUTABLE
        at += 1 if at[0] == 33 else 2
        while digits < 6 and has(at + digits, end, DIGIT):
            digits += 1
        return at + digits if digits >= 5 else at
    token.kind = HINT if follows(at, end, 43) else COMMENT
    return comment_end(lexer, at)


cdef const uint8_t* comment_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    """Past the first `*/`: comments do not nest."""
    cdef const uint8_t* end = lexer.end
    while at < end:
        at = <const uint8_t*>memchr(at, 42, <size_t>(end - at))
        if at == NULL:
            break
        if follows(at + 1, end, 47):
            return at + 2
        at += 1
    lexer.broken = True
    return end


cdef const uint8_t* variable_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    """Past `@name`, `@'name'` or `@@`; what follows `@@` are names and dots."""
    cdef const uint8_t* end = lexer.end
    if follows(at, end, 64):
        return at + 1
    if at < end and at[0] in (39, 34, 96):
        return string_end(
            lexer,
            at + 1,
            at[0],
            lexer.backslashes and (at[0] == 39 or (at[0] == 34 and not lexer.ansi_quotes)),
        )
    while has(at, end, NAME_PART) or follows(at, end, 46):
        at += 1
    return at


cdef const uint8_t* digits_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while has(at, end, DIGIT):
        at += 1
    return at


cdef const uint8_t* number_or_name(Lexer* lexer, Token* token) noexcept nogil:
    """A number, or a name that begins with digits (MY_LEX_NUMBER_IDENT)."""
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef const uint8_t* power
    token.kind = NUMBER
    if at[0] == 48 and at + 1 < end and (at[1] == 120 or at[1] == 98):  # 0x 0b, small letters only
        at += 2
        if lexer.at[1] == 120:
            while has(at, end, HEX):
                at += 1
        else:
            while at < end and (at[0] == 48 or at[0] == 49):
                at += 1
        if at > lexer.at + 2 and not has(at, end, NAME_PART):
            return at
        token.kind = NAME
        return name_end(at, end)
    at = digits_end(at, end)
    if has(at, end, NAME_PART):
        power = exponent_end(at, end)
        if power != NULL:
            return power
        token.kind = NAME
        return name_end(at, end)
    if not follows(at, end, 46):
        return at
    at = digits_end(at + 1, end)
    if at < end and (at[0] | 0x20) == 101:
        power = exponent_end(at, end)
        if power == NULL:
            lexer.broken = True
            return name_end(at, end)
        return power
    return at


cdef const uint8_t* exponent_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past e10, e+10 or e-10; NULL when there is none at `at`."""
    if (at[0] | 0x20) != 101:
        return NULL
    at += 1
    if follows(at, end, 43) or follows(at, end, 45):
        at += 1
    return digits_end(at, end) if has(at, end, DIGIT) else NULL


cdef const uint8_t* operator_or_other(Lexer* lexer, Token* token) noexcept nogil:
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef uint8_t byte = at[0]
    cdef uint8_t after = at[1] if at + 1 < end else 0
    token.kind = OPERATOR
    if byte == 60:  # <
        if after == 61 and follows(at + 2, end, 62):
            return at + 3
        return at + 2 if after in (61, 62, 60) else at + 1
    if byte == 62:  # >
        return at + 2 if after in (61, 62) else at + 1
    if byte == 33:  # !
        return at + 2 if after == 61 else at + 1
    if byte == 45 and after == 62:  # -> ->>
        return at + 3 if follows(at + 2, end, 62) else at + 2
    if (byte == 38 or byte == 124) and after == byte:  # && ||
        return at + 2
    if byte == 58 and after == 61:  # :=
        return at + 2
    if byte in (38, 124, 61, 43, 45, 42, 47, 37, 94, 126):
        return at + 1
    token.kind = OTHER
    if byte == 92:  # \N
        if after == 78:
            return at + 2
        lexer.broken = True
    elif byte not in (40, 41, 44, 46, 59, 58, 123, 125):
        lexer.broken = True
    return at + 1


# Tokens ----------------------------------------------------------------------------------------


def tokens(bytes text not None, int modes=0) -> list:
    """Every token as (kind, start, end): kind an index of KIND_NAMES, byte offsets."""
    cdef Lexer lexer = lexer_of(text, modes)
    cdef Token token
    cdef list found = []
    while next_token(&lexer, &token):
        found.append((token.kind, token.start - lexer.begin, token.end - lexer.begin))
    return found


def measure(bytes text not None, int modes=0):
    """(depth, comments, has_nul, lexes): how deep parentheses and CASEs are open at most, comments
    and hints, whether there is a NUL byte; lexes is False for what is not terminated and for bytes
    that begin no token."""
    cdef Lexer lexer = lexer_of(text, modes)
    cdef Token token
    cdef size_t depth = 0, depth_max = 0, comments = 0
    cdef const uint8_t* at
    while next_token(&lexer, &token):
        at = token.start
        if token.kind in (COMMENT, EXECUTABLE, HINT):
            comments += 1
        elif token.kind == OTHER and at[0] == 40:
            depth += 1
        elif token.kind == OTHER and at[0] == 41:
            depth -= depth > 0
        elif token.kind == NAME and token.end - at == 4 and (at[0] | 0x20) == 99 and (
            (at[1] | 0x20) == 97 and (at[2] | 0x20) == 115 and (at[3] | 0x20) == 101
        ):
            depth += 1  # its END is not told from a name: a bound, not the depth itself
        if depth > depth_max:
            depth_max = depth
    return (
        depth_max,
        comments,
        memchr(PyBytes_AS_STRING(text), 0, <size_t>PyBytes_GET_SIZE(text)) != NULL,
        not lexer.broken,
    )


# Executable comments ---------------------------------------------------------------------------

MIXED = -1
"""A comment that servers run, of which it is not certain which server reads what."""


cdef long version_of(const Token* token) noexcept nogil:
    """The version behind a mark, 0 when there is none."""
    cdef const uint8_t* at = token.start
    cdef long version = 0
    while at < token.end:
        if CLASSES[at[0]] & DIGIT:
            version = version * 10 + at[0] - 48
        at += 1
    return version


cdef enum:
    RUN_BY_ALL = 50700  # every server that is supported runs what is for versions below


cdef bint runs(const Token* token, long version, long server, bint mariadb) noexcept nogil:
    """MariaDB leaves comments for MySQL 5.7 and later out."""
    if version > server:
        return False
    return not mariadb or token.start[2] == 77 or version < RUN_BY_ALL or version > 99999


cdef const uint8_t* skipped_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past a comment that is not run; NULL when it holds another one, or never ends. (One nested
    comment may stand in it, but not all servers agree.)"""
    while end - at >= 2:
        if at[0] == 47 and at[1] == 42:
            return NULL
        if at[0] == 42 and at[1] == 47:
            return at + 2
        at += 1
    return NULL


def unwrap(bytes text not None, int modes, long server, bint mariadb):
    """The text as long as it was, as `server` (50744, 80036, 101106; 0 = one that is not known) reads it: the
    marks around what it runs are spaces, and so is what it does not. MIXED when that is not
    certain."""
    cdef Lexer lexer = lexer_of(text, modes)
    cdef Token token
    cdef const uint8_t* stop
    cdef uint8_t* out = NULL
    cdef bint inside = False
    cdef bytes found = text
    cdef long version
    while next_token(&lexer, &token):
        if token.kind == EXECUTABLE_END and not inside:
            return MIXED  # an asterisk and a slash, to the server
        if inside and token.kind in (EXECUTABLE, COMMENT, HINT):
            return MIXED
        if token.kind not in (EXECUTABLE, EXECUTABLE_END):
            continue
        if out == NULL:
            found = PyBytes_FromStringAndSize(<char*>lexer.begin, lexer.end - lexer.begin)
            if found is text:  # (of one byte or none)
                return MIXED
            out = <uint8_t*>PyBytes_AS_STRING(found)
        if token.kind == EXECUTABLE_END:
            inside = False
            memset(out + (token.start - lexer.begin), 32, 2)
            continue
        version = version_of(&token)
        if not server:
            if token.start[2] == 77 or version >= RUN_BY_ALL:
                return MIXED
        elif (token.start[2] == 77 and not mariadb) or (
            version and not runs(&token, version, server, mariadb)
        ):  # (MySQL takes /*M! for a comment like any other.)
            stop = skipped_end(token.end, lexer.end)
            if stop == NULL:
                return MIXED
            memset(out + (token.start - lexer.begin), 32, <size_t>(stop - token.start))
            lexer.at = stop
            continue
        inside = True
        memset(out + (token.start - lexer.begin), 32, <size_t>(token.end - token.start))
    return MIXED if inside else found


# Redacting -------------------------------------------------------------------------------------


cdef size_t apart(uint8_t* out, size_t size) noexcept nogil:
    """Minus signs that end `out` are kept from beginning a comment with what is put behind."""
    cdef size_t signs = 0
    cdef size_t i
    while signs < size and out[size - 1 - signs] == 45:
        signs += 1
    if signs < 2:
        return size
    size -= signs
    for i in range(signs):
        out[size] = 45
        out[size + 1] = 32
        size += 2
    return size - 1


cdef size_t redact_into(Lexer* lexer, uint8_t* out) noexcept nogil:
    """A literal becomes `$_`, a comment a space. Room needed: three times the text."""
    cdef Token token
    cdef size_t size = 0
    cdef size_t length
    cdef bint was_broken
    while True:
        was_broken = lexer.broken
        if not next_token(lexer, &token):
            return size
        length = <size_t>(token.end - token.start)
        if token.kind in (COMMENT, HINT, EXECUTABLE, EXECUTABLE_END):
            if size and not CLASSES[out[size - 1]] & IS_SPACE:
                size = apart(out, size)
                out[size] = 32
                size += 1
        elif token.kind == STRING or token.kind == NUMBER or (
            # A name that never ends may well be a literal.
            token.kind in (QUOTED_NAME, VARIABLE) and lexer.broken and not was_broken
        ):
            if size and CLASSES[out[size - 1]] & NAME_PART:
                out[size] = 32
                size += 1
            out[size] = 36
            out[size + 1] = 95
            size += 2
        else:
            if (
                size >= 2
                and out[size - 1] == 95
                and out[size - 2] == 36
                and CLASSES[token.start[0]] & NAME_PART
            ):
                out[size] = 32  # 'a'b would read as the one name $_b
                size += 1
            memcpy(out + size, token.start, length)
            size += length


def redact(bytes text not None, int modes=0) -> bytes:
    """The text (unwrapped) with `$_` for every literal and without comments."""
    cdef Lexer lexer = lexer_of(text, modes)
    cdef uint8_t* out = <uint8_t*>malloc(3 * <size_t>PyBytes_GET_SIZE(text) + 1)
    cdef size_t size
    if out == NULL:
        raise MemoryError
    size = redact_into(&lexer, out)
    try:
        return PyBytes_FromStringAndSize(<char*>out, <Py_ssize_t>size)
    finally:
        free(out)


# Folding ---------------------------------------------------------------------------------------

cdef enum:
    DIGITS_MAX = 9


cdef int folded_kind(const Token* token) noexcept nogil:
    """i for a short integer, s for a plain string, 0 for what stays as it is."""
    cdef const uint8_t* at = token.start
    if token.kind == STRING:
        return 115 if at[0] == 39 or at[0] == 34 else 0
    if token.kind != NUMBER or token.end - at > DIGITS_MAX:
        return 0
    while at < token.end:
        if not 48 <= at[0] <= 57:
            return 0
        at += 1
    return 105


cdef bint fold_text(const uint8_t* text, size_t size, int modes, Output* out) except -1:
    """The key of `fold` into `out`; False where that gives None."""
    return fold_tokens(text, size, modes, out, None)


cdef bint fold_tokens(
    const uint8_t* text, size_t size, int modes, Output* out, list offsets
) except -1:
    """The same; `offsets` gets where the constants begin."""
    cdef Lexer lexer = lexer_at(text, size, modes)
    cdef Token token
    cdef uint8_t mark[2]
    cdef bint folded = False
    out.length = 0
    if memchr(text, 0, size) != NULL:
        return False
    mark[0] = 0  # no other part of a key has this byte
    while next_token(&lexer, &token):
        if token.kind in (EXECUTABLE, EXECUTABLE_END, HINT):
            return False
        mark[1] = <uint8_t>folded_kind(&token)
        if mark[1]:
            folded = True
            if offsets is not None:
                offsets.append(token.start - lexer.begin)
            must_add(out, mark, 2)
        else:
            must_add(out, token.start, <size_t>(token.end - token.start))
    return folded and not lexer.broken


def fold(bytes text not None, int modes=0):
    """(key, offsets): the text with a mark in place of each short integer and each plain string,
    and where these begin; None when there are none, the text does not lex, or something in it reads
    differently from server to server. Equal keys under equal modes: the same tokens but for the
    values of these.
    """
    cdef Output out
    memset(&out, 0, sizeof(Output))
    offsets = []
    try:
        if not fold_tokens(
            <const uint8_t*>PyBytes_AS_STRING(text),
            <size_t>PyBytes_GET_SIZE(text),
            modes,
            &out,
            offsets,
        ):
            return None
        return PyBytes_FromStringAndSize(<char*>out.bytes, <Py_ssize_t>out.length), tuple(offsets)
    finally:
        free(out.bytes)
