"""What keeps a model from memorising."""
