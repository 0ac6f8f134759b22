"""Floor 7, loads prefect: Prefect flows, the command `pretune`, and what both print."""
