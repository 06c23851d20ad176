"""The parts of the git provider."""
