"""Names for the bytes that wikitext gives a meaning, and for the marks that the passes over it leave for each other.

Bytes below 0x20 other than tab and newline are taken out of the input, so that they can be marks.
"""

from typing import Any

import numba
import numpy as np

NOTHING, LITERAL_PIPE, LITERAL_QUOTE, GAP, LINK_START, LINK_END = 0, 1, 2, 14, 16, 17
"""NOTHING is skipped; the literals came out of <nowiki>; GAP is where something was dropped; the last two enclose link text."""

TAB, NEWLINE, SPACE, EXCLAMATION, HASH, AMPERSAND, QUOTE, PLUS = b"\t\n !#&'+"
OPEN_PARENTHESIS, CLOSE_PARENTHESIS, COMMA, MINUS, DOT, SLASH, COLON, SEMICOLON = b"(),-./:;"
LESS, EQUALS, GREATER, OPEN_BRACKET, CLOSE_BRACKET, UNDERSCORE, OPEN_BRACE, PIPE, CLOSE_BRACE = b"<=>[]_{|}"
ZERO, NINE, UPPER_A, UPPER_E, UPPER_I, UPPER_Z = b"09AEIZ"
LOWER_A, LOWER_D, LOWER_E, LOWER_H, LOWER_I, LOWER_L, LOWER_M, LOWER_N, LOWER_O, LOWER_P = b"adehilmnop"
LOWER_S, LOWER_T, LOWER_X, LOWER_Z = b"stxz"
CASE_BIT = ord("a") - ord("A")
"""Set in a lower-case letter of ASCII, and not in its capital."""


def flagged(*sets: tuple[int, bytes]) -> np.ndarray:
    """The sum of the flags of the sets that each byte is in; uint8, (256,)."""
    flags = np.zeros(256, np.uint8)
    for flag, members in sets:
        flags[list(members)] |= flag
    return flags


END, SLOTS, JOIN, TEN, TEST, OPEN, CLOSE, QUANTITY, VALUE, FRACTION, LINK_NAME, ROMAN, CENTURIES, LAST, COORDINATES = range(15)
ONLY_INSIDE = 15
"""What a byte below 0x20 says in a template's program (`programs.py`); the last one only as its first byte."""
LAST_UNNAMED, NUM_SLOTS = 15, 64
"""The last argument that has its place by number; the places for arguments: the template's name, these, and the named ones."""
EXPONENT_SLOT, UNIT_SLOT, PER_SLOT, SHOWN_SLOT, PREFIX_SLOT = range(LAST_UNNAMED + 1, LAST_UNNAMED + 6)
NAMED_SLOTS = {
    "e": EXPONENT_SLOT, "u": UNIT_SLOT, "ul": UNIT_SLOT, "up": PER_SLOT, "upl": PER_SLOT, "lt": SHOWN_SLOT, "p": PREFIX_SLOT,
}  # fmt: skip
"""Of arguments that the kernels ask for themselves."""

LETTER, ALPHA, BLANK, LIST_SIGN, URL_END, MARK_LEAD = 1, 2, 4, 8, 16, 32
IS = flagged(
    (LETTER | ALPHA, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    (LETTER, b"0123456789" + bytes(range(128, 256))),
    (BLANK, bytes((SPACE, TAB, NEWLINE, GAP, NOTHING))),
    (LIST_SIGN, b"*#:;"),
    (MARK_LEAD, b"\xc2\xe2\xe3\xef"),
    (URL_END, bytes(range(33)) + b'[]<>"|'),
)
"""`IS[byte] & LETTER`: a table makes for shorter code, and less to compile, than comparisons. LETTER has all of UTF-8 beyond
ASCII, ALPHA the letters of ASCII, MARK_LEAD the first bytes of characters that may be none (`mark_width`)."""

INNER_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
inner: Any = numba.njit(**INNER_OPTIONS)
"""Compiles a function that only other compiled functions call: without an entry from Python it takes two thirds of the time."""
