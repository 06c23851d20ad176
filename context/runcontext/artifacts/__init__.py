"""Where artifacts are kept: one module for each kind of place, chosen by the scheme of the run's artifact URI."""
