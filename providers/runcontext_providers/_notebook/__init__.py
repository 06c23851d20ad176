"""The parts of the notebook provider."""
