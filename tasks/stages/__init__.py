"""Floor 4, loads no library: which stages a run has, where each lies, and what each is asked."""
