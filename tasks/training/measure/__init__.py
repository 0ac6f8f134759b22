"""Floor 4, loads matplotlib, torch, transformers: how fast, how much memory, how it went: rates, FLOPs, traces, plots."""
