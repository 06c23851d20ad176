"""The parts of the host provider."""
