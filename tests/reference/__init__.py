"""The laws and kinds of the core as plain NumPy in float64: what the C code is tested against."""
