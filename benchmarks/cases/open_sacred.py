"""Opens and closes one run with Sacred's file observer, and prints the milliseconds until its main function begins."""

import time

began = time.perf_counter()
from sacred import Experiment  # noqa: E402 - its import is timed
from sacred.observers import FileStorageObserver  # noqa: E402 - as above

experiment = Experiment("bench")
experiment.observers.append(FileStorageObserver("sacred_runs"))


@experiment.main
def main() -> None:
    """Print how long it took to get here."""
    held = (time.perf_counter() - began) * 1_000
    print(f'{{"held": {held}}}')


experiment.run()
