"""Floor 3.2, loads no library: which sample each step sees, as a function of seed and step."""
