"""Floor 3.5, loads pyarrow: the steps from raw text or examples to a data set, and the process that does them."""
