"""Opens and closes one run with runcontext, and prints the milliseconds until the block's first line."""

import time

began = time.perf_counter()
import runcontext  # noqa: E402 - its import is timed

with runcontext.start_run():
    held = (time.perf_counter() - began) * 1_000

print(f'{{"held": {held}}}')
