"""Training whose result hides who was in the data."""
