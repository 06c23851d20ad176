"""The companion: a process beside the program, where providers run that the program must not feel.

Data flows one way: ``client`` (in the program) asks, ``supervisor`` (the companion itself) hands each provider to a
``worker`` (a fork of it), and what the worker says goes into the run's folder and back to the client. Providers run in
workers one after the other, so that one which crashes or hangs is known by name and takes nothing with it.
"""
