"""Fuzzers of the public boundary and of the file readers: `python -m fuzz --help`.

A case is determined by its number: `python -m fuzz boundary --seed N --cases 1` repeats its calls.
"""
