"""What is measured: everything here reads a model's answers and returns numbers with intervals; nothing changes it."""
