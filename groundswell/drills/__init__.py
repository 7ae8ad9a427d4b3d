"""Drills: the real platform, a fault that is known to happen in production, and a verdict with numbers.

One module for each drill; `harness` is what they share; `catalogue` lists them. `groundswell drill NAME` runs one.
"""
