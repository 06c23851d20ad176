"""The parts of the container provider."""
