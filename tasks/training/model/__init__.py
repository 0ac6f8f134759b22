"""Floor 4.1, loads accelerate, torch, transformers: one model over a mesh of ranks: built, divided, filled, and its losses."""
