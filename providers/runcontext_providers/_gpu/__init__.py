"""The parts of the gpu provider: one module for each maker, and what they share."""
