"""Writing shards."""

from tasks.data.shard_writer import token_dtype


def test_the_type_of_a_token_holds_the_vocabulary():
    assert [token_dtype(size) for size in (300, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
