"""Floor 5, loads no library: which layout to train on: memory, time and price in closed form, and the search over layouts."""
