"""How deep a SQL text nests, and the text without its literals (PostgreSQL's lexical rules).

Called by sql/ before a parser sees the text (measure) and by whatever writes SQL into records
(redact). Rule: linear time and no failure for any bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy, memset

from _speedups.growing cimport Output, grow
from _speedups.growing cimport add as add_piece
from _speedups.sqltokens cimport (
    CLASSES,
    COMMENT,
    IS_SPACE,
    NAME,
    NAME_PART,
    NUMBER,
    OPERATOR,
    OTHER,
    QUOTED_NAME,
    SPACE,
    STRING,
    Lexer,
    Token,
    lexer_at,
    lexer_of,
    next_token,
)

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
    JOINs of one FROM and the arms of a set operation (`a + b + c` nests like `((a) + b) + c`).
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


# Folding ---------------------------------------------------------------------------------------

cdef int folded_kind(const Token* token) noexcept nogil:
    """i for a short integer, s for a plain string, 0 for what stays as it is."""
    cdef const uint8_t* at = token.start
    if token.kind == STRING:
        return 115 if at[0] == 39 else 0
    if token.kind != NUMBER or token.end - at > FOLDED_DIGITS_MAX:
        return 0
    while at < token.end:
        if not 48 <= at[0] <= 57:
            return 0
        at += 1
    return 105


cdef bint unfoldable(const Token* token) noexcept nogil:
    """U&'' and U&"": what they mean depends on the string behind UESCAPE."""
    return (
        token.kind in (STRING, QUOTED_NAME)
        and token.start[0] | 0x20 == 117
        and token.end - token.start > 1
        and token.start[1] == 38
    )


cdef enum Folded:
    UNFOLDED = 0
    FOLDED = 1
    NO_MEMORY = 2


cdef Folded fold_tokens(Lexer* lexer, Output* out, Output* offsets) noexcept nogil:
    """See `fold`. Offsets are size_t, one behind another."""
    cdef Token token
    cdef const uint8_t* begin = lexer.at
    cdef size_t length = <size_t>(lexer.end - lexer.at)
    cdef size_t offset
    cdef bint marked = False
    cdef int kind
    out.length = 0
    if memchr(begin, 0, length) != NULL or memchr(begin, 0x5C, length) != NULL:
        return UNFOLDED  # what a backslash means is a setting, so the text is judged by itself
    if not grow(out, 2 * length + 1):
        return NO_MEMORY
    while next_token(lexer, &token):
        if unfoldable(&token):
            return UNFOLDED
        kind = folded_kind(&token)
        if kind:
            marked = True
            offset = <size_t>(token.start - begin)
            if not add_piece(offsets, &offset, sizeof(size_t)):
                return NO_MEMORY
            out.bytes[out.length] = 0  # no other part of a key has this byte
            out.bytes[out.length + 1] = <uint8_t>kind
            out.length += 2
        else:
            add_piece(out, token.start, <size_t>(token.end - token.start))
    return UNFOLDED if lexer.broken or not marked else FOLDED


cdef bint fold_text(const uint8_t* text, size_t size, Output* out, Output* offsets) except -1:
    """What `fold` gives, into `out` and `offsets` (size_t each); False where that is None."""
    cdef Lexer lexer = lexer_at(text, size, True)
    cdef Folded folded
    offsets.length = 0
    folded = fold_tokens(&lexer, out, offsets)
    if folded == NO_MEMORY:
        raise MemoryError
    return folded == FOLDED


def fold(bytes text not None):
    """(key, offsets): the text with a mark in place of each short integer and each plain string,
    and where these begin; None when there are none, or the text does not lex. For a server with
    standard_conforming_strings on. Equal keys: the same tokens but for the values of these.
    """
    cdef Lexer lexer = lexer_of(text, True)
    cdef Output out
    cdef Output offsets
    cdef Folded folded
    cdef size_t index
    memset(&out, 0, sizeof(Output))
    memset(&offsets, 0, sizeof(Output))
    try:
        folded = fold_tokens(&lexer, &out, &offsets)
        if folded == NO_MEMORY:
            raise MemoryError
        if folded == UNFOLDED:
            return None
        places = [
            (<size_t*>offsets.bytes)[index] for index in range(offsets.length // sizeof(size_t))
        ]
        return PyBytes_FromStringAndSize(<char*>out.bytes, <Py_ssize_t>out.length), tuple(places)
    finally:
        free(out.bytes)
        free(offsets.bytes)
