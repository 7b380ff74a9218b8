"""Fuzzers of the public boundary and of the file readers: `python -m fuzz --help`.

A case is a number: `python -m fuzz boundary --seed N --cases 1` runs the same calls again.
"""
