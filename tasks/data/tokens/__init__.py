"""Floor 3.3, loads pyarrow, tokenizers, transformers: from text to memory-mapped tokens."""
