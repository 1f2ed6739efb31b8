"""The nouns and the one loop."""
