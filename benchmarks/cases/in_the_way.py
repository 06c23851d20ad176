"""Sleeps inside a run until its context is complete: what that costs this process, in CPU and in memory."""

import json
import os
import time

import runcontext

ASLEEP_SECONDS = 1.5


def memory() -> tuple[float, float]:
    """Give resident and private memory of this process in MiB (proc(5), smaps_rollup)."""
    with open("/proc/self/smaps_rollup") as file:
        sizes = {line.split()[0]: int(line.split()[1]) / 1_024 for line in file.readlines()[1:]}
    return sizes["Rss:"], sizes["Private_Clean:"] + sizes["Private_Dirty:"]


with runcontext.start_run() as run:
    threads = len(os.listdir("/proc/self/task"))
    resident, private = memory()
    cpu = time.process_time()
    time.sleep(ASLEEP_SECONDS)
    cpu_asleep = time.process_time() - cpu
    resident_after, private_after = memory()
    cpu = time.process_time()
    run.tags  # noqa: B018 - reading it takes in what the companion says
    cpu_reading = time.process_time() - cpu
    resident_at_last, private_at_last = memory()
    outcomes = run.context.outcomes.values()

assert all(each.status not in ("pending", "timed_out") for each in outcomes), outcomes
print(
    json.dumps(
        {
            "threads": threads,
            "cpu": cpu_asleep * 1_000,
            "cpu_reading": cpu_reading * 1_000,
            "resident": max(resident_after, resident_at_last) - resident,
            "private": max(private_after, private_at_last) - private,
        }
    )
)
