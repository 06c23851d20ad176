"""Makes OpenTelemetry's resource, which is all that it has of a run, and prints the milliseconds that took."""

import time

began = time.perf_counter()
from opentelemetry.sdk.resources import Resource  # noqa: E402 - its import is timed

Resource.create()
held = (time.perf_counter() - began) * 1_000

print(f'{{"held": {held}}}')
