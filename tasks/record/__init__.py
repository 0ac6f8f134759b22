"""Floor 1, loads no library: what a run leaves on disk, which is the truth: paths, manifests, journal, locks, errors."""
