"""Sends what a run's folder holds to the place of its tracking URI, beside the program and later.

Data flows one way: ``feed`` reads the journals, ``batches`` cuts what they hold to what a store takes at once,
``state`` remembers how far that got, ``mirror`` does the next thing for one run; ``process`` does it for all runs of a
program, and ``syncing`` for those that earlier ones left. The program's own part is ``asking``.
"""
