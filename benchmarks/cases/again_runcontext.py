"""Starts two runs with runcontext, with a commit between them: how long the second holds, and which commit it has."""

import json
import os
import time

import runcontext

with runcontext.start_run():
    pass
os.system("git commit --quiet --allow-empty --message again")  # noqa: S605 - as a user would
began = time.perf_counter()
with runcontext.start_run() as run:
    held = (time.perf_counter() - began) * 1_000

commit = os.popen("git rev-parse HEAD").read().strip()  # noqa: S605 - as above
is_fresh = runcontext.get_run(run.run_id).tags["mlflow.source.git.commit"] == commit
print(json.dumps({"held": held, "fresh": float(is_fresh)}))
