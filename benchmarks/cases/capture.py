"""Captures a whole context in a fresh process, and prints the milliseconds until it is complete."""

import json
import sys
import time

began = time.perf_counter()
import runcontext  # noqa: E402 - its import is timed

with runcontext.start_run() as run:
    run.tags  # noqa: B018 - waits until the context is complete
    complete = (time.perf_counter() - began) * 1_000
    outcomes = run.context.outcomes

wanted = ("user", "source", "git", "host", "python", *sys.argv[1:])
unexpected = {name: outcomes.get(name) for name in wanted if outcomes[name].status != "captured"}
assert not unexpected, unexpected
print(json.dumps({"complete": complete}))
