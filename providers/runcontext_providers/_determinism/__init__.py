"""The parts of the determinism provider: one module for each library."""
