"""Floor 3.2, loads numba, pyarrow, tokenizers: from text to memory-mapped tokens."""
