"""Laws and kinds of layers as plain NumPy in float64, the reference for the C code."""
