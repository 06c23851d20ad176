"""Opens and closes one run with runcontext, and prints the seconds until the block's first line."""

import time

began = time.perf_counter()
import runcontext  # noqa: E402 - its import is timed

with runcontext.start_run():
    held = time.perf_counter() - began

print(f'{{"held": {held}}}')
