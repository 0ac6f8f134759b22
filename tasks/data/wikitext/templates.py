"""The text of templates: of those in `languages/` what their program says, of others what they were given, in a few cases.

A text is put together behind the template and then moved to its place: it may be longer than what it is made of, but is less
than twice as long as the template with its braces, and none grows with what is nested in it (`wikitext.extract` makes room).
"""

import numpy as np

from tasks.data.wikitext.bytes import (
    BLANK,
    CENTURIES,
    CLOSE,
    COLON,
    COORDINATES,
    END,
    EQUALS,
    FRACTION,
    IS,
    JOIN,
    LAST,
    LAST_UNNAMED,
    LINK_NAME,
    LOWER_A,
    LOWER_Z,
    MINUS,
    NUM_SLOTS,
    ONLY_INSIDE,
    OPEN,
    PIPE,
    QUANTITY,
    ROMAN,
    SHOWN_SLOT,
    SLOTS,
    SPACE,
    TEN,
    TEST,
    UPPER_I,
    VALUE,
    inner,
)  # fmt: skip
from tasks.data.wikitext.census import Census, note
from tasks.data.wikitext.quantities import append, coordinates, fraction, move, power_of_ten, quantity, value
from tasks.data.wikitext.sentences import could_be_words
from tasks.data.wikitext.stack import ARGUMENTS, cut_back
from tasks.data.wikitext.words import ARGUMENT, PROGRAMS, SHOWS_NOTHING, TEMPLATE, Words, meaning

LONGEST_NAME = 64
ANY_REST = ord("*")
ROMAN_NUMERALS = tuple(b"IVXLC")
DASH, FIRST_ORDINAL, ORDINAL, SIECLE = (np.frombuffer(text.encode(), np.uint8) for text in (" – ", "er", "e", " siècle"))


@inner
def template_text(
    out: np.ndarray, start: int, o: int, stack: np.ndarray, words: Words, outermost: bool, inside: bool, census: Census
) -> int:
    """Replace what is between the braces, out[start:o], by its text, put together behind it; the new end of the output.

    `outermost` says that it stands in no other template, `inside` that it stands inside a sentence.
    """
    end = start
    while end < o and end < start + LONGEST_NAME and out[end] != PIPE and (out[end] != COLON or end == start):
        end += 1
    begin, last = trimmed(out, start, end)
    known = meaning(words, out, begin, last, TEMPLATE)
    if known == 0:
        for dash in range(begin + 1, last - 1):
            if out[dash] == MINUS:  # lang-xx
                known = prefix_meaning(out, begin, dash + 1, o, words)
                break
    arguments = stack[ARGUMENTS:]
    end_of_text = o
    place = known - PROGRAMS
    if known >= PROGRAMS and words.programs[place] == ONLY_INSIDE:
        place += 1
        known = known if inside else SHOWS_NOTHING
    if known >= PROGRAMS:
        count, _ = read_arguments(out, end, o, arguments, words)
        arguments[0], arguments[1] = begin, last
        end_of_text = follow(out, o, words.programs, place, arguments, count, words)
        if end_of_text == o and words.programs[place] == END:  # It stands for what cannot be seen.
            return cut_back(out, start)
    if end_of_text == o and known != SHOWS_NOTHING and inside and end < o:
        count, others = read_arguments(out, end, o, arguments, words)
        if others == 0:
            end_of_text = given_text(out, o, arguments, count)
    if end_of_text > o:
        return move(out, start, o, end_of_text)
    if outermost:
        note(census, out, begin, last, inside and known != SHOWS_NOTHING)
    return cut_back(out, start)


@inner
def prefix_meaning(out: np.ndarray, begin: int, end: int, o: int, words: Words) -> int:
    """Of the templates that begin so: listed as `lang-*`."""
    # The `*` is written behind the template, with the name before it: so the word that is looked up is in one piece.
    for j in range(begin, end):
        out[o + j - begin] = out[j]
    out[o + end - begin] = ANY_REST
    return meaning(words, out, o, o + end - begin + 1, TEMPLATE)


@inner
def trimmed(out: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """out[begin:end] without the spaces and marks around it."""
    while begin < end and IS[out[begin]] & BLANK:
        begin += 1
    while end > begin and IS[out[end - 1]] & BLANK:
        end -= 1
    return begin, end


@inner
def read_arguments(out: np.ndarray, i: int, o: int, arguments: np.ndarray, words: Words) -> tuple[int, int]:
    """Begin and end of each argument at its slot (0: none); the number of the last unnamed one, and how many have other names.

    out[i] is the `|` after the name (or the `:` of a parser function), out[o] follows the last argument.
    """
    count = others = unnamed = 0
    arguments[: 2 * NUM_SLOTS] = 0
    while i < o:
        i += 1
        begin: np.int64 | int = i
        equals: np.int64 | int = np.int64(-1)
        while i < o and out[i] != PIPE:
            if out[i] == EQUALS and equals < 0:
                equals = i
            i += 1
        if equals < 0:
            unnamed += 1
            slot = unnamed if unnamed <= LAST_UNNAMED else 0
        else:
            first, last = trimmed(out, begin, equals)
            slot = meaning(words, out, first, last, ARGUMENT)
            begin = equals + 1
            others += slot == 0 or slot > LAST_UNNAMED
        if slot:
            arguments[2 * slot], arguments[2 * slot + 1] = trimmed(out, begin, i)
            if count < slot <= LAST_UNNAMED:
                count = slot
    return count, others


@inner
def follow(out: np.ndarray, o: int, program: np.ndarray, place: int, arguments: np.ndarray, count: int, words: Words) -> int:
    """Appends what the program from `place` on says; the new end of the output."""
    first = before = o
    wants = has = in_group = group_has = False
    while program[place] != END:
        code = program[place]
        place += 1
        if code >= SPACE:
            out[o] = code
            o += 1
        elif code == OPEN:
            before, in_group, group_has = o, True, False
        elif code == CLOSE:
            in_group = False
            if not group_has:
                o = before
        else:
            start = o
            if code == TEST:
                found = arguments[2 * program[place] + 1] > arguments[2 * program[place]]
                place += 1
            else:
                place, o = append_operand(out, o, program, place, code, arguments, count, words)
                found = o > start
            if in_group:
                group_has = group_has or found
            else:
                wants, has = True, has or found
    return o if has or not wants else first


@inner
def append_operand(
    out: np.ndarray, o: int, program: np.ndarray, place: int, code: int, arguments: np.ndarray, count: int, words: Words
) -> tuple[int, int]:
    """The place in the program after the operand, and the end of the output after its text."""
    if code == SLOTS:
        for n in range(program[place]):
            slot = 2 * program[place + 1 + n]
            if arguments[slot + 1] > arguments[slot]:
                o = move(out, o, arguments[slot], arguments[slot + 1])
                break
        return place + 1 + program[place], o
    if code == JOIN:
        size, start = program[place + 2], o
        for n in range(program[place], min(program[place + 1], count) + 1):
            if arguments[2 * n + 1] > arguments[2 * n]:
                if o > start:
                    o = append(out, o, program[place + 3 : place + 3 + size])
                o = move(out, o, arguments[2 * n], arguments[2 * n + 1])
        return place + 3 + size, o
    if code == LAST:
        while count > 1 and arguments[2 * count + 1] == arguments[2 * count]:
            count -= 1
        return place, move(out, o, arguments[2 * count], arguments[2 * count + 1])
    if code == TEN:
        slot = 2 * program[place]
        return place + 1, power_of_ten(out, o, arguments[slot], arguments[slot + 1])
    if code == QUANTITY:
        return place, quantity(out, o, arguments, count, words)
    if code == VALUE:
        return place, value(out, o, arguments, count, words)
    if code == FRACTION:
        return place, fraction(out, o, arguments, count)
    if code == COORDINATES:
        return place, coordinates(out, o, arguments, count)
    if code == LINK_NAME:
        return place, link_name(out, o, arguments)
    if code in (ROMAN, CENTURIES):
        return place, centuries(out, o, arguments, count, code)
    return place, o


@inner
def given_text(out: np.ndarray, o: int, arguments: np.ndarray, count: int) -> int:
    """Appends what an unknown template inside a sentence most likely shows: its only argument, or the one after a language."""
    slot = 2 * count
    if count == 2 and not is_code(out, arguments[2], arguments[3]):
        return o
    if count in (1, 2) and could_be_words(out, arguments[slot], arguments[slot + 1]):
        return move(out, o, arguments[slot], arguments[slot + 1])
    return o


@inner
def is_code(out: np.ndarray, begin: int, end: int) -> bool:
    """Whether it looks like a language's code: two or three small letters."""
    for j in range(begin, end):
        if not LOWER_A <= out[j] <= LOWER_Z:
            return False
    return 2 <= end - begin <= 3


@inner
def link_name(out: np.ndarray, o: int, arguments: np.ndarray) -> int:
    """Appends the text of a link to an article of another language: {{ill|text|de|...|lt=text}} or {{ill|de|text|...|text}}."""
    slot = 2
    if arguments[2 * SHOWN_SLOT + 1] > arguments[2 * SHOWN_SLOT]:
        slot = 2 * SHOWN_SLOT
    elif is_code(out, arguments[2], arguments[3]) and arguments[5] > arguments[4]:
        slot = 8 if arguments[9] > arguments[8] else 4
    return move(out, o, arguments[slot], arguments[slot + 1])


@inner
def centuries(out: np.ndarray, o: int, arguments: np.ndarray, count: int, style: int) -> int:
    """Appends "XIXe siècle" or "XVIIe – XVIIIe siècle" (ROMAN: "XVII – XVIII") for {{sp|XVII|e|XVIII|e}}, else nothing."""
    numerals, first = 0, o
    for n in range(1, min(count, 3) + 1):
        begin, end = arguments[2 * n], arguments[2 * n + 1]
        if numerals < 2 and is_roman(out, begin, end):
            if numerals:
                o = append(out, o, DASH)
            o = move(out, o, begin, end)
            if style == CENTURIES:
                o = append(out, o, FIRST_ORDINAL if end - begin == 1 and out[begin] == UPPER_I else ORDINAL)
            numerals += 1
        elif n == 1:
            return first
    return append(out, o, SIECLE) if style == CENTURIES else o


@inner
def is_roman(out: np.ndarray, begin: int, end: int) -> bool:
    for j in range(begin, end):
        if out[j] not in ROMAN_NUMERALS:
            return False
    return begin < end
