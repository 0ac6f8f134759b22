"""The copy is exact, aligned, made in the same memory every time, and holds the values of the moment of `complete`."""

import pytest
import torch

from tasks.training.checkpoint.staging import ALIGNMENT, Staging, require_success
from tasks.training.model.pieces import Piece


def pieces(*tensors: torch.Tensor) -> list[Piece]:
    return [Piece(str(n), t, tuple(t.shape), (0,) * t.ndim) for n, t in enumerate(tensors)]


def test_every_dtype_is_copied_into_aligned_memory() -> None:
    tensors = [torch.randn(3, 5), torch.tensor(2.0), torch.randn(7).bfloat16(), torch.ones(0, 4), torch.arange(9) > 4]
    tensors.append(torch.arange(6.0).reshape(2, 3).T)
    staging = Staging()
    copies = staging.start(pieces(*tensors))
    staging.complete()
    for copy, tensor in zip(copies, tensors, strict=True):
        assert (copy.dtype, copy.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(copy, tensor)
        assert copy.is_contiguous()
        assert copy.data_ptr() % ALIGNMENT == 0 or copy.numel() == 0
        assert copy.untyped_storage().data_ptr() == copies[0].untyped_storage().data_ptr()
    assert not staging.hold_back(), "in memory the caller has to wait"


def test_the_memory_is_used_again_while_the_shapes_stay() -> None:
    staging, tensor = Staging(), torch.zeros(100)
    (first,) = staging.start(pieces(tensor))
    staging.complete()
    tensor.fill_(5)
    assert not first.any(), "a copy"
    (second,) = staging.start(pieces(torch.full((100,), 7.0)))
    staging.complete()
    assert second is first
    assert bool((second == 7).all())
    (third,) = staging.start(pieces(torch.ones(3, 4)))
    staging.complete()
    assert torch.equal(third, torch.ones(3, 4))


def test_memory_that_cannot_be_locked_is_told() -> None:
    require_success(0)
    with pytest.raises(RuntimeError, match=r"could not be page-locked: 2; raise the limit of locked memory \(ulimit -l\)"):
        require_success(2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_on_a_gpu_are_copied_behind_what_was_launched_and_before_what_comes() -> None:
    tensor, step, staging = torch.zeros(2**24, device="cuda"), torch.tensor(1.0), Staging()
    for value in (1.0, 2.0):
        tensor.fill_(value)
        copies = staging.start(pieces(tensor, step))
        assert staging.hold_back()
        tensor.fill_(-1.0)
        staging.complete()
        assert copies[0].is_pinned()
        assert bool((copies[0] == value).all())
        assert float(copies[1]) == 1.0
    staging.start(pieces(torch.ones(3, device="cuda")))
    staging.complete()
