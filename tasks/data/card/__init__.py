"""Floor 3.3, loads matplotlib: the card of a data set, as text and as a picture."""
