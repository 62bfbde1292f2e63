"""PostgreSQL's lexical rules: how deep a text nests, and the text without its literals.

Called by sql/ before a parser sees the text (measure) and by whatever writes SQL into records
(redact). Rule: linear time and no failure for any bytes; where the text does not lex, more of it
counts as literal, never less.

Follows src/backend/parser/scan.l of PostgreSQL 18. What older versions lex otherwise (`123abc` as
a number and a name) is taken as junk, part of the number.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

cdef enum Kind:
    SPACE = 0
    COMMENT = 1
    STRING = 2
    NUMBER = 3
    PARAMETER = 4
    NAME = 5
    QUOTED_NAME = 6
    OPERATOR = 7
    OTHER = 8

KIND_NAMES = (
    "space", "comment", "string", "number", "parameter", "name", "quoted_name", "operator", "other",
)

cdef enum Class:
    IS_SPACE = 1
    NAME_START = 2
    NAME_PART = 4  # dollar included
    DIGIT = 8
    OPERATOR_PART = 16
    TAG_PART = 32  # of a dollar quote
    HEX = 64

cdef uint8_t[256] CLASSES


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


cdef struct Lexer:
    const uint8_t* at
    const uint8_t* end
    bint backslashes  # standard_conforming_strings is off
    bint broken
    const uint8_t* run_end  # of the operator characters around `at`, once looked at
    const uint8_t* run_core  # there only + and - follow, each an operator of its own


cdef struct Token:
    int kind
    const uint8_t* start
    const uint8_t* end


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


# Measuring -------------------------------------------------------------------------------------

cdef enum:
    LEVELS_KEPT_MAX = 16384  # deeper than any limit; levels below are only counted
    PARENTHESIS = 0
    CASE = 1

cdef enum Word:
    NO_WORD = 0
    WORD_CASE = 1
    WORD_END = 2
    WORD_OPERAND = 3  # begins another operand: no chain of operators goes on over it
    WORD_CHAIN = 4  # takes the expression so far as its left or right side
    WORD_JOIN = 5
    WORD_SET = 6
    WORD_QUERY = 7
    WORD_AS = 8

cdef dict WORDS = {
    b"case": WORD_CASE,
    b"end": WORD_END,
    **dict.fromkeys(
        (b"and", b"or", b"where", b"having", b"on", b"when", b"then", b"else", b"by", b"limit",
         b"set", b"values"),
        WORD_OPERAND,
    ),
    **dict.fromkeys((b"not", b"collate", b"operator", b"at"), WORD_CHAIN),
    b"join": WORD_JOIN,
    **dict.fromkeys((b"union", b"intersect", b"except"), WORD_SET),
    **dict.fromkeys((b"select", b"from"), WORD_QUERY),
    b"as": WORD_AS,
}

cdef enum:
    WORD_BYTES_MAX = 9
    WORD_COUNT_MAX = 32

cdef struct Entry:
    uint8_t length
    uint8_t word
    char text[9]

cdef Entry[WORD_COUNT_MAX] ENTRIES
cdef int[27] FIRST_LETTERS  # letter -> first entry; entries are sorted


cdef void fill_words() except *:
    cdef int index = 0
    cdef int letter
    cdef bytes text
    for letter in range(27):
        FIRST_LETTERS[letter] = len(WORDS)
    for index, text in enumerate(sorted(WORDS)):
        ENTRIES[index].length = <uint8_t>len(text)
        ENTRIES[index].word = <uint8_t><int>WORDS[text]
        memcpy(ENTRIES[index].text, PyBytes_AS_STRING(text), <size_t>len(text))
    for letter in range(25, -1, -1):
        FIRST_LETTERS[letter] = FIRST_LETTERS[letter + 1]
        for index in range(<int>len(WORDS) - 1, -1, -1):
            if ENTRIES[index].text[0] == 97 + letter:
                FIRST_LETTERS[letter] = index


fill_words()


cdef inline int word_of(const Token* token) noexcept nogil:
    cdef size_t length = <size_t>(token.end - token.start)
    cdef int letter = (token.start[0] | 0x20) - 97
    cdef int index
    cdef size_t place
    if length > WORD_BYTES_MAX or token.start[0] >= 128 or not 0 <= letter < 26:
        return NO_WORD
    for index in range(FIRST_LETTERS[letter], FIRST_LETTERS[letter + 1]):
        if ENTRIES[index].length != length:
            continue
        place = 1
        while place < length and (token.start[place] | 0x20) == <uint8_t>ENTRIES[index].text[place]:
            place += 1
        if place == length:
            return ENTRIES[index].word
    return NO_WORD


cdef struct Level:
    int kind
    uint32_t operators  # of the chain that goes on
    uint32_t joins
    uint32_t sets


cdef struct Measure:
    Level* levels
    size_t room
    size_t depth  # levels open, the outermost not counted
    size_t weight  # depth and chains of all open levels
    size_t weight_max
    size_t comments
    bint failed  # no memory


cdef inline Level* top(Measure* measure) noexcept nogil:
    if measure.depth < LEVELS_KEPT_MAX:
        return &measure.levels[measure.depth]
    return &measure.levels[LEVELS_KEPT_MAX - 1]


cdef inline void add(Measure* measure, uint32_t* counter) noexcept nogil:
    counter[0] += 1
    measure.weight += 1
    if measure.weight > measure.weight_max:
        measure.weight_max = measure.weight


cdef inline void drop(Measure* measure, uint32_t* counter) noexcept nogil:
    measure.weight -= counter[0]
    counter[0] = 0


cdef void open_level(Measure* measure, int kind) noexcept nogil:
    cdef void* grown
    cdef size_t room
    measure.depth += 1
    measure.weight += 1
    if measure.weight > measure.weight_max:
        measure.weight_max = measure.weight
    if measure.depth >= LEVELS_KEPT_MAX:
        return
    if measure.depth >= measure.room:
        room = measure.room * 2
        grown = realloc(measure.levels, room * sizeof(Level))
        if grown == NULL:
            measure.failed = True
            measure.depth -= 1
            return
        measure.levels = <Level*>grown
        measure.room = room
    measure.levels[measure.depth].kind = kind
    measure.levels[measure.depth].operators = 0
    measure.levels[measure.depth].joins = 0
    measure.levels[measure.depth].sets = 0


cdef void close_level(Measure* measure) noexcept nogil:
    cdef Level* level
    if measure.depth == 0:
        return
    if measure.depth < LEVELS_KEPT_MAX:
        level = top(measure)
        drop(measure, &level.operators)
        drop(measure, &level.joins)
        drop(measure, &level.sets)
    measure.depth -= 1
    measure.weight -= 1


cdef void weigh_word(Measure* measure, int word) noexcept nogil:
    cdef Level* level = top(measure)
    if word == WORD_CASE:
        open_level(measure, CASE)
    elif word == WORD_END:
        if measure.depth and level.kind == CASE:
            close_level(measure)
    elif word == WORD_CHAIN:
        add(measure, &level.operators)
    elif word == WORD_JOIN:
        drop(measure, &level.operators)
        add(measure, &level.joins)
    elif word in (WORD_OPERAND, WORD_QUERY, WORD_SET):
        drop(measure, &level.operators)
        if word != WORD_OPERAND:
            drop(measure, &level.joins)
        if word == WORD_SET:
            add(measure, &level.sets)


cdef void weigh_byte(Measure* measure, uint8_t byte) noexcept nogil:
    cdef Level* level = top(measure)
    if byte == 40 or byte == 91:
        open_level(measure, PARENTHESIS)
    elif byte == 41 or byte == 93:
        while measure.depth and top(measure).kind == CASE:
            close_level(measure)
        close_level(measure)
    elif byte == 44:
        drop(measure, &level.operators)
    elif byte == 59:
        while measure.depth:
            close_level(measure)
        level = top(measure)
        drop(measure, &level.operators)
        drop(measure, &level.joins)
        drop(measure, &level.sets)


cdef void weigh(Lexer* lexer, Measure* measure) noexcept nogil:
    cdef Token token
    cdef bint label = False  # after '.' or AS a keyword is only a name
    cdef int word
    while next_token(lexer, &token) and not measure.failed:
        if token.kind == SPACE:
            continue
        if token.kind == COMMENT:
            measure.comments += 1
            continue
        word = NO_WORD
        if token.kind == NAME and not label:
            word = word_of(&token)
            weigh_word(measure, word)
        elif token.kind == OPERATOR:
            add(measure, &top(measure).operators)
        elif token.kind == OTHER and token.start[0] == 58 and token.end - token.start == 2:
            add(measure, &top(measure).operators)
        elif token.kind == OTHER:
            weigh_byte(measure, token.start[0])
        label = word == WORD_AS or (
            token.kind == OTHER and token.start[0] == 46 and token.end - token.start == 1
        )


def measure(bytes text not None, bint standard_strings=True):
    """(nesting_max, comments, has_nul, lexes) of a text.

    nesting_max bounds the depth of the parser's tree: open parentheses, brackets and CASEs, plus,
    of each level still open, the operators chained without a comma, AND, OR or clause between, the
    JOINs of one FROM and the arms of a set operation (`a + b + c` nests as deep as `((a) + b) + c`).
    lexes is False for an unterminated literal, name or comment and for junk after a number.
    """
    cdef Lexer lexer = lexer_of(text, standard_strings)
    cdef Measure measured
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    measured.room = 64
    measured.levels = <Level*>malloc(measured.room * sizeof(Level))
    if measured.levels == NULL:
        raise MemoryError
    measured.depth = measured.weight = measured.weight_max = measured.comments = 0
    measured.failed = False
    measured.levels[0].kind = PARENTHESIS
    measured.levels[0].operators = measured.levels[0].joins = measured.levels[0].sets = 0
    weigh(&lexer, &measured)
    free(measured.levels)
    if measured.failed:
        raise MemoryError
    return (
        measured.weight_max,
        measured.comments,
        memchr(PyBytes_AS_STRING(text), 0, <size_t>size) != NULL,
        not lexer.broken,
    )


cdef Lexer lexer_of(bytes text, bint standard_strings):
    cdef Lexer lexer
    lexer.at = <const uint8_t*>PyBytes_AS_STRING(text)
    lexer.end = lexer.at + PyBytes_GET_SIZE(text)
    lexer.backslashes = not standard_strings
    lexer.broken = False
    lexer.run_end = lexer.run_core = NULL
    return lexer


# Redacting -------------------------------------------------------------------------------------


cdef size_t redact_into(Lexer* lexer, uint8_t* out) noexcept nogil:
    """A literal becomes `$_`, a comment a space. Room needed: three times the text.

    (A token of n bytes leaves at most n + 1 or 3 behind it; text as people write it shrinks.)
    """
    cdef Token token
    cdef size_t size = 0
    cdef size_t length
    cdef bint was_broken
    while True:
        was_broken = lexer.broken
        if not next_token(lexer, &token):
            return size
        length = <size_t>(token.end - token.start)
        if token.kind == COMMENT:
            if size and not CLASSES[out[size - 1]] & IS_SPACE:
                out[size] = 32
                size += 1
        elif token.kind == STRING or token.kind == NUMBER or (
            # A name that never ends may well be a literal: the client took " for '.
            token.kind == QUOTED_NAME and lexer.broken and not was_broken
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


def redact(bytes text not None, bint standard_strings=True) -> bytes:
    """The text with `$_` for every literal and without comments."""
    cdef Lexer lexer = lexer_of(text, standard_strings)
    cdef uint8_t* out = <uint8_t*>malloc(3 * <size_t>PyBytes_GET_SIZE(text) + 1)
    cdef size_t size
    if out == NULL:
        raise MemoryError
    size = redact_into(&lexer, out)
    try:
        return PyBytes_FromStringAndSize(<char*>out, <Py_ssize_t>size)
    finally:
        free(out)


def tokens(bytes text not None, bint standard_strings=True) -> list:
    """Every token as (kind, start, end), kind one of KIND_NAMES and byte offsets; for tests."""
    cdef Lexer lexer = lexer_of(text, standard_strings)
    cdef Token token
    cdef const uint8_t* begin = lexer.at
    cdef list found = []
    while next_token(&lexer, &token):
        found.append((KIND_NAMES[token.kind], token.start - begin, token.end - begin))
    return found
