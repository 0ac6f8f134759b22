"""Floor 2, loads no library: everything that a person can set, and the rules between settings."""
