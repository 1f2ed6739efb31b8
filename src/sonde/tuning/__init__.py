"""What chooses settings: a learning-rate range test, and a search that is judged on the validation rows."""
