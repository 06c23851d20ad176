"""Opens and closes one run with runprov, and prints the milliseconds until the block's first line."""

import time

began = time.perf_counter()
from runprov import Run, configure  # noqa: E402 - its import is timed

configure(root=".")
with Run("bench", {}, provenance="provenance/bench.json"):
    held = (time.perf_counter() - began) * 1_000

print(f'{{"held": {held}}}')
