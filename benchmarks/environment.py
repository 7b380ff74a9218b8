"""Import this before NumPy: it removes settings of numerical libraries from the environment.

A user's shell may select slower kernels or other thread counts for a library, which reads these
variables when it is loaded. Benchmarks set what they need themselves.
"""

import os

for _name in list(os.environ):
    if _name.startswith(("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_")):
        del os.environ[_name]
