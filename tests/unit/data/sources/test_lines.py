"""Lines with their places, and cutting a plain file between them."""

import bz2

from tasks.data.sources.lines import has_quotes, lines_before, read_lines, split_lines
from tasks.data.sources.streams import Limits, Meter, open_input


def lines(path, limits=None, span=None) -> list[tuple]:
    with open_input(str(path), limits or Limits(), Meter(), span) as stream:
        return [tuple(line) for line in read_lines(stream, limits or Limits())]


def test_numbers_and_offsets_count_what_is_in_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\n\xff\xe9\nlast")
    assert lines(tmp_path / "a.txt") == [(1, 3, b"one\r\n", 5), (2, 8, b"\n", 1), (3, 9, b"\xff\xe9\n", 3), (4, 12, b"last", 4)]


def test_a_long_line_is_passed_over_but_counted(tmp_path):
    limits = Limits(max_line_bytes=10)
    for content, sizes in (
        (b"0123456789\n01234567890\nend", [11, 12, 3]),
        (b"x" * 5_000_000 + b"\nend", [5_000_001, 3]),
        (b"01234567890", [11]),
        (b"0123456789", [10]),
    ):
        (tmp_path / "a.txt").write_bytes(content)
        found = lines(tmp_path / "a.txt", limits)
        assert [size for _, _, _, size in found] == sizes
        assert [len(raw) < size for _, _, raw, size in found] == [
            size > 10 and not (size == 11 and b"\n" in raw) for _, _, raw, size in found
        ]
        assert sum(sizes) == len(content)


def test_spans_begin_at_lines_and_together_are_the_file(tmp_path):
    content = b"".join(b"%d %s\n" % (n, b"x" * (n * 37 % 200)) for n in range(1000)) + b"no end"
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    whole = [raw for _, _, raw, _ in lines(path)]
    for num_bytes in (1, 100, 1000, 12_345, len(content) - 1, len(content), 10**9):
        spans = split_lines(str(path), num_bytes)
        assert [b for _, b in spans][:-1] == [a for a, _ in spans][1:]
        found = [line for span in spans for line in lines(path, span=span)]
        assert [raw for _, _, raw, _ in found] == whole
        assert all(content[offset : offset + size] == raw for _, offset, raw, size in found)
        assert len(spans) == 1 or max(b - a for a, b in spans) <= num_bytes + 210
    assert len(split_lines(str(path), 1)) == len(whole)


def test_a_line_end_at_the_very_place_of_the_cut(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"12345\n12345\n12345\n")
    assert split_lines(str(tmp_path / "a.txt"), 6) == [(0, 6), (6, 12), (12, 18)]
    assert split_lines(str(tmp_path / "a.txt"), 7) == [(0, 12), (12, 18)]
    assert split_lines(str(tmp_path / "a.txt"), 5) == [(0, 6), (6, 12), (12, 18)]


def test_what_cannot_be_entered_in_the_middle_is_one_span(tmp_path):
    packed, wide = bz2.compress(b"line\n" * 1000), ("\ufeff" + "line\n" * 1000).encode("utf-16-le")
    (tmp_path / "a.bz2").write_bytes(packed)
    (tmp_path / "a.txt").write_bytes(wide)
    assert split_lines(str(tmp_path / "a.bz2"), 10) == [(0, len(packed))]
    assert split_lines(str(tmp_path / "a.txt"), 10) == [(0, len(wide))]


def test_quotes_and_line_ends_are_found(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    assert not has_quotes(str(tmp_path / "a.csv"))
    assert lines_before(str(tmp_path / "a.csv"), 8) == 2
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,"2"\n')
    assert has_quotes(str(tmp_path / "a.csv"))
