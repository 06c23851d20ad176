"""Makes one run as a training loop would, and prints its folder, of which a store of many runs is copied."""

import runcontext

with runcontext.start_run() as run:
    run.log_params({"lr": 3e-4, "epochs": 10, "batch_size": 32, "optimizer": "adam", "seed": 1})
    for step in range(10):
        run.log_metrics({"loss": 1 / (step + 1), "accuracy": 1 - 1 / (step + 2)}, step=step)
    run.set_tag("note", "as a training loop logs")

print(run.path)
