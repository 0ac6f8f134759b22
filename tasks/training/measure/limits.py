"""Sizes that training keeps to and that the planner counts with, so that both mean the same. Loads nothing."""

CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**27}
"""Logits that the cross-entropy holds at a time: on a CPU the fastest of 2^19 to 2^24, in bf16 and in fp32 (16 MiB). On a GPU
(0.25 GiB in bf16) so many that the products of a chunk fill it, which was not measured."""
MUON_ITERATIONS = 5
"""Of the polynomial that makes a matrix orthogonal (Jordan et al. 2024)."""
STACKED_ELEMENTS = 2**26
"""Matrices of one shape are made orthogonal together by Muon, up to this many values at once: 256 MiB in fp32."""
SHORT_SEQUENCE = 256
"""Tokens up to which plain attention was faster than the fused kernel on a CPU (1.2 to 1.6 times, both passes, bf16)."""
