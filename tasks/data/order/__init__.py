"""Floor 3.3, loads no library: which sample each step sees, as a function of seed and step."""
