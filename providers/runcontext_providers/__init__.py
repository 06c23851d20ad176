"""The built-in providers, one file each: found by entry point, imported where they run and nowhere else."""
