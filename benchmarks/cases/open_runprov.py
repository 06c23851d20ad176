"""Opens and closes one run with runprov, and prints the seconds until the block's first line."""

import time

began = time.perf_counter()
from runprov import Run, configure  # noqa: E402 - its import is timed

configure(root=".")
with Run("bench", {}, provenance="provenance/bench.json"):
    held = time.perf_counter() - began

print(f'{{"held": {held}}}')
