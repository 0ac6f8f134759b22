"""Floor 1, loads no library: what a run leaves on disk, which is the truth: paths, files, manifests, journal, locks, errors;
and how child processes end.
"""
