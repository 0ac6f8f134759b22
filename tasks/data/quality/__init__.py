"""Floor 3, loads numba: what a text's words, lines and characters say about it, and which published rules it breaks."""
