"""The parts of the python provider."""
