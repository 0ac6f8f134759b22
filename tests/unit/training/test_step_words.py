"""What ranks hear from each other, whatever the layout."""

from dataclasses import replace

import pytest
import torch

from tasks.config.parallel import Layout
from tasks.data.tokens.digest import MODULUS
from tasks.training.model.mesh import Mesh
from tasks.training.model.ranks import Ranks
from tasks.training.step_words import StepWords


class Placed(Mesh):
    """Where a rank stands, without the process group that a mesh makes."""

    def __init__(self, layout: Layout, rank: int) -> None:
        super().__init__(Layout(), Ranks(0, 1, torch.device("cpu")))
        self.layout = layout
        _, replicate, shard, tensor = layout.pipeline_parallel, layout.replicate, layout.shard, layout.tensor_parallel
        place = divmod(rank, replicate * shard * tensor)
        self.coordinate = {
            "pipeline": place[0], "replicate": place[1] // (shard * tensor), "shard": place[1] // tensor % shard,
            "tensor": place[1] % tensor,
        }  # fmt: skip


LAYOUTS = [
    Layout(), Layout(replicate=4), Layout(shard=3), Layout(tensor_parallel=2), Layout(3),
    Layout(2, replicate=2, tensor_parallel=2), Layout(2, 2, 3, 2),
]  # fmt: skip


def shared(layout: Layout, said: list[StepWords]) -> StepWords:
    """What everybody hears when rank i says `said[i]`."""
    meshes = [Placed(layout, rank) for rank in range(layout.world_size)]
    total = sum(one.numbers(mesh) for one, mesh in zip(said, meshes, strict=True))
    heard = {StepWords.heard(total.tolist(), mesh) for mesh in meshes}
    assert len(heard) == 1
    return heard.pop()


def digests(layout: Layout) -> list[int]:
    """Of each rank: those that read the same have the same."""
    return [MODULUS - 1 - Placed(layout, rank).data_rank for rank in range(layout.world_size)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_digest_counts_every_share_of_the_batch_once(layout: Layout) -> None:
    heard = shared(layout, [StepWords(False, False, False, digest) for digest in digests(layout)])
    width = layout.data_parallel
    assert heard == StepWords(False, False, False, sum(MODULUS - 1 - i for i in range(width)) % MODULUS, True)


@pytest.mark.parametrize("flag", ["stop", "damaged", "unsaved"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_one_rank_is_enough_to_stop_to_find_damage_or_not_to_save(layout: Layout, flag: str) -> None:
    quiet = StepWords(False, False, False, 5)
    for rank in range(layout.world_size):
        said = [replace(quiet, **{flag: i == rank}) for i in range(layout.world_size)]
        heard = shared(layout, said)
        assert {name for name in ("stop", "damaged", "unsaved") if getattr(heard, name)} == {flag}


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one.pipeline_parallel * one.tensor_parallel > 1], ids=str)
def test_a_rank_that_reads_other_tokens_than_those_beside_it_is_noticed(layout: Layout) -> None:
    for rank in range(layout.world_size):
        read = digests(layout)
        read[rank] ^= 1 << 70
        assert not shared(layout, [StepWords(False, False, False, digest) for digest in read]).agree
