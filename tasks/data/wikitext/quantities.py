"""Numbers and units of templates, as they were given; what is not understood is left out, since a wrong number is worse."""

import numpy as np

from tasks.data.wikitext.bytes import (
    ALPHA,
    BLANK,
    CASE_BIT,
    CLOSE_PARENTHESIS,
    DOT,
    EXPONENT_SLOT,
    IS,
    LOWER_E,
    MINUS,
    NINE,
    OPEN_PARENTHESIS,
    PER_SLOT,
    PLUS,
    PREFIX_SLOT,
    SLASH,
    SPACE,
    UNIT_SLOT,
    ZERO,
    inner,
)  # fmt: skip
from tasks.data.wikitext.words import COMPOUND, RANGE_WORD, UNIT, Words, meaning

TIMES_TEN, PLUS_MINUS, DEGREES, MINUTES, SECONDS = (
    np.frombuffer(text.encode(), np.uint8) for text in ("×10^", " ± ", "°", "′", "″")
)
DIRECTIONS = tuple(b"NSEWO")
IN_NUMBERS = tuple(b" .,+-/()'")


@inner
def append(out: np.ndarray, o: int, text: np.ndarray) -> int:
    for j in range(text.size):
        out[o + j] = text[j]
    return o + text.size


@inner
def move(out: np.ndarray, start: int, begin: int, end: int) -> int:
    for j in range(begin, end):
        out[start + j - begin] = out[j]
    return start + end - begin


@inner
def append_packed(out: np.ndarray, o: int, text: int) -> int:
    """Appends up to seven bytes that are in one integer."""
    while text:
        out[o] = text & 255
        o, text = o + 1, text >> 8
    return o


@inner
def sign_length(out: np.ndarray, begin: int, end: int) -> int:
    """Bytes of a sign at `begin`: `+`, `-` or U+2212."""
    if begin < end and out[begin] in (MINUS, PLUS):
        return 1
    return 3 if end - begin > 2 and out[begin] == 0xE2 and out[begin + 1] == 0x88 and out[begin + 2] == 0x92 else 0


@inner
def is_digit(c: int) -> bool:
    return ZERO <= c <= NINE


@inner
def is_number(out: np.ndarray, begin: int, end: int) -> bool:
    """Whether it begins as a number does, and has nothing but digits, separators, fractions and a power of ten."""
    i = begin + sign_length(out, begin, end)
    if i >= end or not (is_digit(out[i]) or out[i] == 0xC2 or (out[i] == DOT and i + 1 < end and is_digit(out[i + 1]))):
        return False
    while i < end:
        c = out[i]
        is_power = c | CASE_BIT == LOWER_E and i + 1 < end and (is_digit(out[i + 1]) or sign_length(out, i + 1, end) > 0)
        if not (is_digit(c) or c in IN_NUMBERS or c >= 0x80 or is_power or IS[c] & BLANK):
            return False
        i += 1
    return True


@inner
def append_number(out: np.ndarray, o: int, begin: int, end: int) -> int:
    """Appends a number: 1.2e6 as 1.2×10^6, 5+1/2 as 5 1/2, 1//2 as 1/2."""
    for i in range(begin, end):
        c, after = out[i], i > begin and is_digit(out[i - 1])
        if c | CASE_BIT == LOWER_E:
            o = append(out, o, TIMES_TEN)
        elif not (c == SLASH and i > begin and out[i - 1] == SLASH):
            out[o] = SPACE if c == PLUS and after else c
            o += 1
    return o


@inner
def power_of_ten(out: np.ndarray, o: int, begin: int, end: int) -> int:
    """Appends "×10^24" if out[begin:end] is a whole number."""
    sign = begin + sign_length(out, begin, end)
    for j in range(sign, end):
        if not is_digit(out[j]):
            return o
    if sign >= end:
        return o
    return move(out, append(out, o, TIMES_TEN), begin, end)


@inner
def quantity(out: np.ndarray, o: int, arguments: np.ndarray, count: int, words: Words) -> int:
    """Appends what {{convert|5|to|10|km|mi|...}} or {{convert|6|ft|4|in|cm}} was given, without what it is converted to."""
    first, n = o, 1
    if not is_number(out, arguments[2], arguments[3]):
        return first
    o = append_number(out, o, arguments[2], arguments[3])
    while n + 2 <= count:
        between = meaning(words, out, arguments[2 * n + 2], arguments[2 * n + 3], RANGE_WORD)
        if between == 0 or not is_number(out, arguments[2 * n + 4], arguments[2 * n + 5]):
            break
        o = append_number(out, append_packed(out, o, between), arguments[2 * n + 4], arguments[2 * n + 5])
        n += 2
    if n + 1 > count or not begins_as_unit(out, arguments[2 * n + 2], arguments[2 * n + 3]):
        return first
    o = append_unit(out, o, arguments[2 * n + 2], arguments[2 * n + 3], words)
    n += 1
    while n + 2 <= count and is_number(out, arguments[2 * n + 2], arguments[2 * n + 3]):
        if not follows(out, arguments, n, words):
            # Another number with a unit, or with a word in place of the unit before it, that is not understood.
            return first if begins_as_unit(out, arguments[2 * n + 4], arguments[2 * n + 5]) else o
        out[o] = SPACE
        o = append_number(out, o + 1, arguments[2 * n + 2], arguments[2 * n + 3])
        o = append_unit(out, o, arguments[2 * n + 4], arguments[2 * n + 5], words)
        n += 2
    return o


@inner
def follows(out: np.ndarray, arguments: np.ndarray, n: int, words: Words) -> bool:
    """Whether the unit at place n may be followed by a number of that at n + 2, as feet by inches."""
    larger = meaning(words, out, arguments[2 * n], arguments[2 * n + 1], COMPOUND)
    smaller = meaning(words, out, arguments[2 * n + 4], arguments[2 * n + 5], COMPOUND)
    return larger != 0 and smaller > larger and larger >> 4 == smaller >> 4


@inner
def begins_as_unit(out: np.ndarray, begin: int, end: int) -> bool:
    """With a letter, or with a sign beyond ASCII such as that of degrees."""
    return begin < end and (IS[out[begin]] & ALPHA != 0 or out[begin] >= 0x80)


@inner
def append_unit(out: np.ndarray, o: int, begin: int, end: int, words: Words) -> int:
    """Appends a space and the unit; e6km2 as ×10^6 km2."""
    if end - begin > 2 and out[begin] == LOWER_E and is_digit(out[begin + 1]):
        after = begin + 1
        while after < end and is_digit(out[after]):
            after += 1
        o, begin = power_of_ten(out, o, begin + 1, after), after
    out[o] = SPACE
    known = meaning(words, out, begin, end, UNIT)
    return append_packed(out, o + 1, known) if known else move(out, o + 1, begin, end)


@inner
def value(out: np.ndarray, o: int, arguments: np.ndarray, count: int, words: Words) -> int:
    """Appends {{val|1.2|0.1|e=6|u=kg}}: number, uncertainty, power of ten and unit; nothing where one is not understood."""
    first, n = o, 1
    exponent, exponent_end = arguments[2 * EXPONENT_SLOT], arguments[2 * EXPONENT_SLOT + 1]
    o = move(out, o, arguments[2 * PREFIX_SLOT], arguments[2 * PREFIX_SLOT + 1])
    start = o
    if not is_number(out, arguments[2], arguments[3]):
        return first
    o = append_number(out, o, arguments[2], arguments[3])
    several = False
    while n < count:
        begin, end = arguments[2 * n + 2], arguments[2 * n + 3]
        n += 1
        if begin == end:
            continue
        between = meaning(words, out, begin, end, RANGE_WORD)
        if between and n < count and is_number(out, arguments[2 * n + 2], arguments[2 * n + 3]):
            o, several = append_packed(out, o, between), True
            begin, end = arguments[2 * n + 2], arguments[2 * n + 3]
            n += 1
        elif out[begin] == OPEN_PARENTHESIS:
            o = move(out, o, begin, end)
            continue
        elif not is_number(out, begin, end):
            return first
        elif n == count and n == 2:
            o, several = append(out, o, PLUS_MINUS), True
        else:  # What may be added, and what may be taken away.
            several = True
            out[o] = SPACE
            o += 1
            if sign_length(out, begin, end) == 0:
                out[o] = PLUS if n == 2 else MINUS
                o += 1
        o = append_number(out, o, begin, end)
    if exponent < exponent_end:
        if several:
            for j in range(o, start, -1):
                out[j] = out[j - 1]
            out[start], out[o + 1] = OPEN_PARENTHESIS, CLOSE_PARENTHESIS
            o += 2
        end_of_number = o
        o = power_of_ten(out, o, exponent, exponent_end)
        if o == end_of_number:
            return first
    if arguments[2 * UNIT_SLOT + 1] > arguments[2 * UNIT_SLOT]:
        o = append_unit(out, o, arguments[2 * UNIT_SLOT], arguments[2 * UNIT_SLOT + 1], words)
        if arguments[2 * PER_SLOT + 1] > arguments[2 * PER_SLOT]:
            out[o] = SLASH
            o = move(out, o + 1, arguments[2 * PER_SLOT], arguments[2 * PER_SLOT + 1])
    return o


@inner
def fraction(out: np.ndarray, o: int, arguments: np.ndarray, count: int) -> int:
    """Appends {{frac|1|2}} as 1/2, {{frac|5|1|2}} as 5 1/2, {{frac|3}} as 1/3."""
    if count > 3 or count < 1:
        return o
    if count == 3:
        out[move(out, o, arguments[2], arguments[3])] = SPACE
        o += arguments[3] - arguments[2] + 1
    if count == 1:
        out[o] = ZERO + 1
        o += 1
    else:
        o = move(out, o, arguments[2 * count - 2], arguments[2 * count - 1])
    out[o] = SLASH
    return move(out, o + 1, arguments[2 * count], arguments[2 * count + 1])


@inner
def coordinates(out: np.ndarray, o: int, arguments: np.ndarray, count: int) -> int:
    """Appends {{coord|52|31|6|N|13|24|E}} as 52°31′6″N 13°24′E; nothing for other forms."""
    first, place, directions = o, 0, 0
    for n in range(1, count + 1):
        begin, end = arguments[2 * n], arguments[2 * n + 1]
        if end - begin == 1 and out[begin] in DIRECTIONS and place > 0:
            out[o], out[o + 1] = out[begin], SPACE
            o, place, directions = o + 2, 0, directions + 1
            if directions == 2:
                return o - 1
        elif place < 3 and is_number(out, begin, end):
            o = move(out, o, begin, end)
            o = append(out, o, DEGREES if place == 0 else MINUTES if place == 1 else SECONDS)
            place += 1
        else:
            break
    return first
