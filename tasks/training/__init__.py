"""Floor 4.5, loads sklearn, torch, transformers: what a rank does: the loop, its parts, and a module for each kind of stage."""
