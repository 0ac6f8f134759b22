"""Floor 3.3, loads pyarrow, tokenizers: from text to memory-mapped tokens."""
