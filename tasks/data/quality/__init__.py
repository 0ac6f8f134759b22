"""Floor 3.1, loads no library: what a text's words, lines and characters say about it, and which published rules it breaks."""
