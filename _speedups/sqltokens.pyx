"""PostgreSQL's lexical rules: bytes of a text -> tokens.

Called by sqllex. Rule: linear time and no failure for any bytes; where the text does not lex, more
of it counts as literal, never less.

Follows src/backend/parser/scan.l of PostgreSQL 18. What older versions lex otherwise (`123abc` as
a number and a name) is taken as junk, part of the number.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

KIND_NAMES = (
    "space", "comment", "string", "number", "parameter", "name", "quoted_name", "operator", "other",
)


cdef void fill_classes():
    cdef int byte
    for byte in range(256):
        CLASSES[byte] = 0
        if 97 <= (byte | 0x20) <= 122 or byte == 95 or byte >= 128:
            CLASSES[byte] = NAME_START | NAME_PART | TAG_PART
        if 48 <= byte <= 57:
            CLASSES[byte] = DIGIT | NAME_PART | TAG_PART | HEX
        if 97 <= (byte | 0x20) <= 102 and byte < 128:
            CLASSES[byte] |= HEX
    for byte in b" \t\n\r\f\v":
        CLASSES[byte] = IS_SPACE
    for byte in b"~!@#^&|`?+-*/%<>=":
        CLASSES[byte] = OPERATOR_PART
    CLASSES[36] = NAME_PART


fill_classes()


cdef inline bint has(const uint8_t* at, const uint8_t* end, uint8_t classes) noexcept nogil:
    return at < end and CLASSES[at[0]] & classes != 0


cdef inline bint follows(const uint8_t* at, const uint8_t* end, uint8_t byte) noexcept nogil:
    return at < end and at[0] == byte


cdef bint next_token(Lexer* lexer, Token* token) noexcept nogil:
    """Reads one token; False at the end of the text."""
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef uint8_t byte
    cdef uint8_t classes
    if at >= end:
        return False
    token.start = at
    byte = at[0]
    classes = CLASSES[byte]
    if classes & IS_SPACE:
        token.kind = SPACE
        while has(at, end, IS_SPACE):
            at += 1
    elif classes & NAME_START:
        at = name_or_string(lexer, token)
    elif classes & DIGIT or (byte == 46 and has(at + 1, end, DIGIT)):
        token.kind = NUMBER
        at = number_end(lexer, at)
    elif byte == 39:
        token.kind = STRING
        at = string_end(lexer, at + 1, lexer.backslashes)
    elif byte == 34:
        token.kind = QUOTED_NAME
        at = quoted_name_end(lexer, at + 1)
    elif byte == 36:
        at = after_dollar(lexer, token)
    elif byte == 45 and follows(at + 1, end, 45):
        token.kind = COMMENT
        at = line_end(at, end)
    elif byte == 47 and follows(at + 1, end, 42):
        token.kind = COMMENT
        at = comment_end(lexer, at)
    elif classes & OPERATOR_PART:
        token.kind = OPERATOR
        at = operator_end(lexer, at)
    else:
        token.kind = OTHER
        at += 1
        if (byte == 58 and (follows(at, end, 58) or follows(at, end, 61))) or (
            byte == 46 and follows(at, end, 46)
        ):
            at += 1  # '::', ':=' and '..'
    token.end = at
    lexer.at = at
    return True


cdef const uint8_t* name_or_string(Lexer* lexer, Token* token) noexcept nogil:
    """A name, or a literal that begins with a letter: E'' B'' X'' N'' U&'' U&\"\"."""
    cdef const uint8_t* at = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef uint8_t letter = at[0] | 0x20
    if follows(at + 1, end, 39) and at[0] < 128:
        token.kind = STRING
        if letter == 101:  # e
            return string_end(lexer, at + 2, True)
        if letter == 98 or letter == 120:  # b, x
            return string_end(lexer, at + 2, False)
        if letter == 110:  # n
            return string_end(lexer, at + 2, lexer.backslashes)
    if letter == 117 and at[0] < 128 and follows(at + 1, end, 38):  # u&
        if follows(at + 2, end, 39):
            token.kind = STRING
            return string_end(lexer, at + 3, False)
        if follows(at + 2, end, 34):
            token.kind = QUOTED_NAME
            return quoted_name_end(lexer, at + 3)
    token.kind = NAME
    while has(at, end, NAME_PART):
        at += 1
    return at


cdef const uint8_t* string_end(Lexer* lexer, const uint8_t* at, bint backslashes) noexcept nogil:
    """Where a string ends whose opening quote lies before `at`, continuations included."""
    cdef const uint8_t* end = lexer.end
    cdef const uint8_t* again
    while at < end:
        if at[0] == 92 and backslashes:
            at += 2
            continue
        if at[0] != 39:
            at += 1
            continue
        at += 1
        if follows(at, end, 39):
            at += 1
            continue
        again = continuation(at, end)
        if again == NULL:
            return at
        at = again
    lexer.broken = True
    return end


cdef const uint8_t* continuation(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past the quote that takes the string up again on another line; NULL when none does."""
    cdef bint newline = False
    while at < end:
        if CLASSES[at[0]] & IS_SPACE:
            if at[0] == 10 or at[0] == 13:
                newline = True
            at += 1
        elif at[0] == 45 and follows(at + 1, end, 45):
            at = line_end(at, end)
        else:
            break
    return at + 1 if newline and follows(at, end, 39) else NULL


cdef const uint8_t* quoted_name_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    cdef const uint8_t* end = lexer.end
    while at < end:
        if at[0] == 34:
            if not follows(at + 1, end, 34):
                return at + 1
            at += 1
        at += 1
    lexer.broken = True
    return end


cdef const uint8_t* line_end(const uint8_t* at, const uint8_t* end) noexcept nogil:
    while at < end and at[0] != 10 and at[0] != 13:
        at += 1
    return at


cdef const uint8_t* comment_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    """Past the `*/` that closes the comment at `at`; comments nest."""
    cdef const uint8_t* end = lexer.end
    cdef size_t depth = 0
    while end - at >= 2:
        if at[0] == 47 and at[1] == 42:
            depth += 1
            at += 2
        elif at[0] == 42 and at[1] == 47:
            depth -= 1
            at += 2
            if depth == 0:
                return at
        else:
            at += 1
    lexer.broken = True
    return end


cdef const uint8_t* after_dollar(Lexer* lexer, Token* token) noexcept nogil:
    """A parameter, a dollar-quoted string, or a lone dollar."""
    cdef const uint8_t* start = lexer.at
    cdef const uint8_t* end = lexer.end
    cdef const uint8_t* at = start + 1
    if has(at, end, DIGIT):
        token.kind = PARAMETER
        while has(at, end, DIGIT):
            at += 1
        return at
    while has(at, end, TAG_PART):
        at += 1
    if follows(at, end, 36):
        token.kind = STRING
        return dollar_quote_end(lexer, start, <size_t>(at + 1 - start))
    token.kind = OTHER
    return start + 1


cdef const uint8_t* dollar_quote_end(
    Lexer* lexer, const uint8_t* tag, size_t length
) noexcept nogil:
    """Linear: a tag has dollars at its ends only, so no byte is compared twice."""
    cdef const uint8_t* at = tag + length
    while at < lexer.end:
        at = <const uint8_t*>memchr(at, 36, <size_t>(lexer.end - at))
        if at == NULL:
            break
        if <size_t>(lexer.end - at) >= length and memcmp(at, tag, length) == 0:
            return at + length
        at += 1
    lexer.broken = True
    return lexer.end


cdef inline const uint8_t* digits_end(
    const uint8_t* at, const uint8_t* end, uint8_t classes
) noexcept nogil:
    """Past digits with single underscores between them."""
    while has(at, end, classes) or (
        follows(at, end, 95) and has(at + 1, end, classes)
    ):
        at += 1
    return at


cdef const uint8_t* number_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    cdef const uint8_t* end = lexer.end
    cdef const uint8_t* power
    cdef uint8_t letter
    if at[0] == 48 and at + 1 < end:
        letter = at[1] | 0x20
        if letter == 120 and has(at + 2 + follows(at + 2, end, 95), end, HEX):
            return junk_end(lexer, digits_end(at + 2, end, HEX))
        if (letter == 111 or letter == 98) and has(at + 2 + follows(at + 2, end, 95), end, DIGIT):
            return junk_end(lexer, digits_end(at + 2, end, DIGIT))
    at = digits_end(at, end, DIGIT)
    if follows(at, end, 46) and not follows(at + 1, end, 46):
        at += 1
        if has(at, end, DIGIT):
            at = digits_end(at, end, DIGIT)
    if at < end and (at[0] | 0x20) == 101:
        power = at + 1
        if follows(power, end, 43) or follows(power, end, 45):
            power += 1
        if has(power, end, DIGIT):
            at = digits_end(power, end, DIGIT)
    return junk_end(lexer, at)


cdef inline const uint8_t* junk_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    """What PostgreSQL calls trailing junk after a numeric literal goes with the number.

    Not so a dollar: before version 15 a dollar quote could begin there.
    """
    if has(at, lexer.end, NAME_START):
        lexer.broken = True
        while has(at, lexer.end, NAME_PART):
            at += 1
    return at


cdef const uint8_t* operator_end(Lexer* lexer, const uint8_t* at) noexcept nogil:
    """One operator: a run of operator characters, cut before a comment; a run without any of
    ~!@#^&|`?% gives its trailing + and - away, each an operator of its own.
    """
    cdef const uint8_t* end = lexer.end
    cdef const uint8_t* stop = at
    cdef const uint8_t* core = at
    cdef bint special = False
    if lexer.run_end == NULL or at >= lexer.run_end:
        while has(stop, end, OPERATOR_PART):
            if stop > at and (
                (stop[0] == 45 and follows(stop + 1, end, 45))
                or (stop[0] == 47 and follows(stop + 1, end, 42))
            ):
                break
            if stop[0] not in (43, 45):
                core = stop + 1
                special = special or stop[0] not in (42, 47, 60, 61, 62)
            stop += 1
        lexer.run_end = stop
        lexer.run_core = stop if special else core
    return lexer.run_core if at < lexer.run_core else at + 1


cdef Lexer lexer_of(bytes text, bint standard_strings):
    return lexer_at(
        <const uint8_t*>PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text), standard_strings
    )


cdef Lexer lexer_at(const uint8_t* text, size_t size, bint standard_strings) noexcept nogil:
    cdef Lexer lexer
    lexer.at = text
    lexer.end = text + size
    lexer.backslashes = not standard_strings
    lexer.broken = False
    lexer.run_end = lexer.run_core = NULL
    return lexer


def tokens(bytes text not None, bint standard_strings=True) -> list:
    """Every token as (kind, start, end), kind one of KIND_NAMES and byte offsets; for short texts."""
    cdef Lexer lexer = lexer_of(text, standard_strings)
    cdef Token token
    cdef const uint8_t* begin = lexer.at
    cdef list found = []
    while next_token(&lexer, &token):
        found.append((KIND_NAMES[token.kind], token.start - begin, token.end - begin))
    return found


def unsure_strings(bytes text not None) -> list:
    """(start, end) of strings that end elsewhere where a backslash escapes what is behind it: they
    have one right before a quote, and no E, B, X or U& in front. Objects are made of these only."""
    cdef Lexer lexer = lexer_of(text, True)
    cdef Token token
    cdef const uint8_t* begin = lexer.at
    cdef const uint8_t* at
    cdef list found = []
    while next_token(&lexer, &token):
        if token.kind != STRING or (token.start[0] != 39 and token.start[0] | 0x20 != 110):
            continue
        at = token.start + 1
        while at < token.end:
            if at[0] == 39 and (at - 1)[0] == 92:
                found.append((token.start - begin, token.end - begin))
                break
            at += 1
    return found
