"""Runs as MLflow keeps them: on its tracking servers over REST, and in the stores of its plugins by the same calls."""
