"""Floor 3.3, loads datasets, pyarrow: from files of any kind to raw documents, and what could not be read."""
