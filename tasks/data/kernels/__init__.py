"""Floor 3, loads numba: the decorator of all compiled functions, which keeps what they compile to until a file changes."""
