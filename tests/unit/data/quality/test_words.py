"""Words and symbols as the rules count them."""

import numpy as np
import pytest

from tasks.data.quality.characters import character_classes
from tasks.data.quality.judge import COUNTS
from tasks.data.quality.words import Tokens, find_words, vocabulary_hashes


def scan(text, room=None):
    """The tokens of `text`, their hashes, and what was counted; None where there is not enough `room`."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    room = len(data) if room is None else room
    found, counts = Tokens(np.zeros(room, np.uint64), np.zeros(room, np.int32)), np.zeros(1, COUNTS)[0]
    number = find_words(data, character_classes(), vocabulary_hashes(), found, counts)
    if number < 0:
        return None
    visible, tokens = "".join(text.split()), []
    for length in found.characters[:number]:
        tokens.append(visible[:length])
        visible = visible[length:]
    assert visible == ""
    return tokens, found.hashes[:number].tolist(), counts


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's a well-known fact, isn't it?", "It 's a well - known fact , isn 't it ?"),
        ("Mr. Smith of the U.S. paid 1,000.50 at 10:30.", "Mr. Smith of the U.S. paid 1,000.50 at 10:30 ."),
        ("J. R. R. Tolkien, e.g. at example.com", "J. R. R. Tolkien , e.g. at example.com"),
        ("The end.Start", "The end . Start"),
        ("AT&T & Co. in 1914–1918", "AT&T & Co. in 1914–1918"),
        ("wait... what -- [[a]] snake_case _b_", "wait ... what -- [ [ a ] ] snake_case _ b _"),
        ("«L’été» 中文。नमस्ते", "« L ’été » 中文 。 नमस्ते"),
        ("'quoted' rock'n'roll", "' quoted ' rock 'n 'roll"),
        ("", ""),
    ],
)
def test_tokens(text, tokens):
    assert scan(text)[0] == tokens.split()


def test_counts():
    text = "The cat, and #1 of… cats... 42 that's\nté"
    tokens, _, counts = scan(text)
    assert tokens == ["The", "cat", ",", "and", "#", "1", "of", "…", "cats", "...", "42", "that", "'s", "té"]
    words = [token for token in tokens if any(c.isalnum() for c in token)]
    assert (counts["tokens"], counts["words"], counts["word_characters"]) == (len(tokens), len(words), sum(map(len, words)))
    assert counts["alphabetic_tokens"] == sum(any(c.isalpha() for c in token) for token in tokens)
    assert (counts["stop_words"], counts["hashes"], counts["ellipses"], counts["characters"]) == (3, 1, 2, len(text))
    assert counts["pieces"] == len(text.split())
    assert counts["alphabetic_pieces"] == sum(any(c.isalpha() for c in piece) for piece in text.split())


def test_every_stop_word_counts_once_and_only_in_lower_case():
    assert scan("the be to of and that have with the be")[2]["stop_words"] == 8
    assert scan("The BE To OF thee bet")[2]["stop_words"] == 0


def test_equal_tokens_have_equal_hashes_and_others_do_not():
    tokens, hashes, _ = scan("to be or not to be - that -- that ... . ? ! 0 O ab ba a b é e")
    by_token = dict(zip(tokens, hashes, strict=True))
    assert len(set(by_token.values())) == len(by_token)
    assert all(by_token[token] == value for token, value in zip(tokens, hashes, strict=True))


def test_too_little_room_is_said_and_nothing_is_written_beyond_it():
    assert scan("a b c", room=2) is None
    assert scan("a b c", room=3)[0] == ["a", "b", "c"]


def test_a_dot_run_counts_as_ellipses_of_three():
    assert scan("a ...... b .. c ....")[2]["ellipses"] == 3
