"""What templates do, from the data files in `languages/`: patterns, made into the programs that the kernels follow.

A file has tables `[text]` (pattern = names of templates) and `[nothing]` (names of templates that show nothing in a sentence:
references, notes to editors, icons). `any.toml` counts in all languages, `CODE.toml` in the one of that code and before it, and
in the others where no file says something else of the same name.
Names are separated by spaces, with `_` for a space of their own; `<2-300>` stands for these numbers, `<II-XXX>` for Roman ones;
a name that ends with `-*` is that of all templates that begin so. A pattern is text with

    {1} {unit} {0}   an argument by number or name, or the template's own name
    {lt/2/1}         the first of these that is not empty
    {2-4:, }         all of these that are not empty, with `, ` between them; `{1-:}` all from the first on, with nothing
    {^e}             "×10^" and the argument, if it is a whole number
    {?3}             nothing, but it counts as there if the argument is not empty
    [ ... ]          what is written only if an argument in it is not empty (they do not nest)
    {last}           the last unnamed argument
    {inside}         at the begin: the template shows something inside a sentence only
    {quantity} {value} {fraction} {coordinates} {link} {roman} {centuries}     see `quantities.py` and `templates.py`

and `\\` before one of `[]{\\`. If no argument outside of brackets is there, nothing is written at all.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tasks.data.wikitext.bytes import (
    CENTURIES,
    CLOSE,
    COORDINATES,
    END,
    FRACTION,
    JOIN,
    LAST,
    LAST_UNNAMED,
    LINK_NAME,
    NAMED_SLOTS,
    NUM_SLOTS,
    ONLY_INSIDE,
    OPEN,
    QUANTITY,
    ROMAN,
    SLOTS,
    TEN,
    TEST,
    VALUE,
)  # fmt: skip

FOLDER = Path(__file__).with_name("languages")
SPECIAL = {
    "quantity": QUANTITY, "value": VALUE, "fraction": FRACTION, "link": LINK_NAME, "roman": ROMAN, "centuries": CENTURIES,
    "last": LAST,
    "coordinates": COORDINATES,
    "inside": ONLY_INSIDE,
}  # fmt: skip
TOKEN = re.compile(r"\\(?P<escaped>.)|\{(?P<operand>[^{}]+)\}|(?P<bracket>[\[\]])|(?P<literal>[^\\{}\[\]]+)")
RANGE = re.compile(r"(\d+)-(\d*):(.*)", re.DOTALL)
NUMBERED = re.compile(r"<(\w+)-(\w+)>")
ROMAN_PARTS = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


class Slots(dict[str, int]):
    """Where the kernels put the value of each argument: unnamed ones by their number, the others by name."""

    def __init__(self) -> None:
        super().__init__({str(n): n for n in range(LAST_UNNAMED + 1)} | NAMED_SLOTS)
        self._next = max(NAMED_SLOTS.values()) + 1

    def of(self, name: str) -> int:
        name = name.encode().lower().decode()  # As `words.folded` does: letters of ASCII only.
        if name not in self:
            if self._next == NUM_SLOTS:
                raise ValueError(f"argument {name!r}: the patterns of a language name more than {NUM_SLOTS} arguments")
            self[name], self._next = self._next, self._next + 1
        return self[name]


def program(pattern: str, slots: Slots) -> bytes:
    """The bytes that `templates.follow` executes; raises ValueError for what is no pattern."""
    code, end, depth = bytearray(), 0, 0
    for token in TOKEN.finditer(pattern):
        if token.start() != end:
            break
        end = token.end()
        if operand := token["operand"]:
            code += operand_code(operand, slots)
        elif token["bracket"]:
            depth += 1 if token["bracket"] == "[" else -1
            code.append(OPEN if token["bracket"] == "[" else CLOSE)
        else:
            code += (token["escaped"] or token["literal"]).encode()
        if depth not in (0, 1):
            break
    if end != len(pattern) or depth:
        raise ValueError(f"pattern {pattern!r} cannot be read from character {end} on; see {Path(__file__).name}")
    return bytes(code) + bytes([END])


def operand_code(operand: str, slots: Slots) -> bytes:
    if operand in SPECIAL:
        return bytes([SPECIAL[operand]])
    if found := RANGE.fullmatch(operand):
        first, last, separator = int(found[1]), int(found[2] or LAST_UNNAMED), found[3].encode()
        return bytes([JOIN, first, last, len(separator)]) + separator
    if operand[0] in "^?":
        return bytes([TEN if operand[0] == "^" else TEST, slots.of(operand[1:])])
    names = operand.split("/")
    return bytes([SLOTS, len(names), *(slots.of(name.replace("_", " ")) for name in names)])


def roman(number: int) -> str:
    text = ""
    for value, sign in ROMAN_PARTS:
        text, number = text + sign * (number // value), number % value
    return text


def names_of(listed: str) -> Iterator[str]:
    """The names in a list, those with `<2-300>` written out."""
    numerals = {roman(number): number for number in range(1, 100)}
    for name in listed.split():
        found = NUMBERED.search(name)
        if not found:
            yield name
        elif found[1].isdecimal():
            yield from (NUMBERED.sub(str(number), name) for number in range(int(found[1]), int(found[2]) + 1))
        else:
            yield from (NUMBERED.sub(roman(n), name) for n in range(numerals[found[1]], numerals[found[2]] + 1))


@cache
def listed(language: str) -> tuple[dict[str, str], frozenset[str]]:
    """Pattern by name of template, and the names of those that show nothing, from one file; nothing if there is none."""
    file = FOLDER / f"{language}.toml"
    if not re.fullmatch(r"[a-z][a-z-]*", language) or not file.is_file():
        return {}, frozenset()
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    texts = {name: pattern for pattern, names in tables.get("text", {}).items() for name in names_of(names)}
    return texts, frozenset(names_of(tables.get("nothing", {}).get("names", "")))


@cache
def shared(code: str) -> dict[str, str | None]:
    """What the files of other languages say of names that are neither in that of `code` nor in `any.toml`, where they agree.

    A dump may not say its language, or another one, and editors take templates along. A name of one letter means something else
    in each wiki: it is taken only with what it was given.
    """
    said: dict[str, set[tuple[str, str | None]]] = {}
    own = {name.lower() for one in ("any", code) for names in listed(one) for name in names}
    for file in sorted(FOLDER.glob("*.toml")):
        texts, nothing = listed(file.stem)
        for name, pattern in (texts | dict.fromkeys(nothing)).items():
            if name.lower() not in own and (len(name) > 1 or not name.isascii() or (pattern and "{" in pattern)):
                said.setdefault(name.lower(), set()).add((name, pattern))
    agreed = (forms for forms in said.values() if len({pattern for _, pattern in forms}) == 1)
    return {name: pattern for forms in agreed for name, pattern in sorted(forms, key=str)}


def known_templates(language: str) -> tuple[dict[str, str | None], Slots, dict[str, bytes]]:
    """Pattern by name (None: shows nothing), the slots of arguments, and the programs by pattern; `language` comes first."""
    named = dict(shared(language))
    for code in ("any", language):
        texts, nothing = listed(code)
        named |= texts | dict.fromkeys(nothing)
    slots = Slots()
    patterns = sorted({pattern for pattern in named.values() if pattern is not None})
    return named, slots, {pattern: program(pattern, slots) for pattern in patterns}
