"""The copy is exact, aligned, made in the same memory every time, and holds the values of the moment of `complete`."""

import torch

from tasks.training.checkpoint_staging import ALIGNMENT, Staging
from tasks.training.pieces import Piece


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
