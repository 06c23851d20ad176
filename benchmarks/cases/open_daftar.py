"""Opens and closes one run with daftar, and prints the milliseconds until the block's first line."""

import time

began = time.perf_counter()
import daftar  # noqa: E402 - its import is timed

with daftar.track("bench"):
    held = (time.perf_counter() - began) * 1_000

print(f'{{"held": {held}}}')
