"""Floor 3.2, loads matplotlib: the card of a data set, as text and as a picture."""
