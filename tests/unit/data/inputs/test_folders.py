"""What is read of a folder, and that what is not read is named with its reason."""

import pytest

from tasks.data.inputs.folders import HIDDEN, LINK, NO_FILE, by_reason, held_back, passed_over_sentence, split_of, walk


def test_hidden_things_links_to_folders_and_links_to_nothing_are_named(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/objects/1", "sub/.cache/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "door").symlink_to(tmp_path / ".git")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / "also.txt").symlink_to(tmp_path / "a.txt")
    found, passed_over = walk(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.txt", "also.txt", "b.txt", "sub/c.txt"]
    assert passed_over == {
        ".hidden": HIDDEN, ".git/": HIDDEN, "sub/.cache/": HIDDEN, "sub/door/": LINK, "gone.txt": NO_FILE
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("en/validation-00000-of-00001.parquet", "validation"),
        ("default/test/0000.parquet", "test"),
        ("validation/part.jsonl.gz", "validation"),
        ("wiki.valid.txt", "validation"),
        ("imdb_test.csv", "test"),
        ("Dev.jsonl", "validation"),
        ("training.jsonl", "train"),
        ("contest.txt", None),
        ("latest-part.txt", None),
        ("part-00000-of-00001.parquet", None),
        ("a-test-of-courage.txt", None),
        ("data.parquet", None),
    ],
)
def test_a_split_is_told_by_the_names_that_the_hub_uses(name, split):
    assert split_of(name) == split


def test_other_splits_are_held_back_beside_a_training_split_and_by_the_names_of_the_hub():
    beside = ["train.jsonl", "test.jsonl", "dev/a.jsonl", "more.jsonl"]
    assert set(held_back(beside, True)) == set(held_back(beside, False)) == {"test.jsonl", "dev/a.jsonl"}
    assert held_back(["test.txt", "other.txt"], True) == {}, "one text of that name is no split"
    shards = ["test-00000-of-00001.parquet", "part.parquet"]
    assert list(held_back(shards, True)) == shards[:1]
    assert held_back(shards, False) == {}, "they were named by a pattern"
    assert "the validation split, which is not trained on; name it alone" in held_back(beside, True)["dev/a.jsonl"]


def test_names_are_grouped_by_reason_and_cut(tmp_path):
    entries = by_reason({f"{n:02d}.doc": "other" for n in range(25)} | {".x": "hidden"})
    assert [(entry["reason"], entry["number"]) for entry in entries] == [("hidden", 1), ("other", 25)]
    assert entries[1]["names"] == [f"{n:02d}.doc" for n in range(20)]
    assert passed_over_sentence("data.path='x'", entries[0]) == "data.path='x': not read: .x (hidden)"
    assert passed_over_sentence("a", entries[1]).endswith("18.doc, 19.doc and 5 more (other)")
