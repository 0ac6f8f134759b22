"""What ranks tell each other in the all-reduce that ends a step, besides their shares of the loss."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tasks.data.tokens.digest import LIMBS, digest_of_limbs, limbs_of
from tasks.training.model.mesh import Mesh


@dataclass(frozen=True)
class StepWords:
    """Said by one rank, or heard from all of them together."""

    stop: bool
    """A stop was asked for."""
    damaged: bool
    """The verification of the inputs has failed."""
    unsaved: bool
    """A checkpoint could not be written."""
    token_digest: int
    """Of the samples that a rank read; heard, of the global batch."""
    agree: bool = True
    """Heard: ranks that read the same samples (of one pipeline, or with parts of the same matrices) read the same tokens."""

    def numbers(self, mesh: Mesh) -> Tensor:
        """float64 of shape (3 + 2 x LIMBS,) on the CPU, to be summed over all ranks: whole numbers, so the sum is exact."""
        limbs = limbs_of(self.token_digest)
        first = limbs if mesh.is_first_reader else [0.0] * LIMBS
        flags = [float(flag) for flag in (self.stop, self.damaged, self.unsaved)]
        return torch.tensor([*flags, *first, *limbs], dtype=torch.float64)

    @classmethod
    def heard(cls, sums: list[float], mesh: Mesh) -> Self:
        stop, damaged, unsaved, *limbs = sums
        first, everyone = limbs[:LIMBS], limbs[LIMBS:]
        agree = everyone == [limb * mesh.num_readers for limb in first]
        return cls(stop > 0, damaged > 0, unsaved > 0, digest_of_limbs(first), agree)
