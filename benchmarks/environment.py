"""Import this before NumPy: it removes settings of numerical libraries from the environment.

Environment variables may select slower kernels or other thread counts; a library reads them when it
is loaded. Benchmarks set the variables that they need themselves.
"""

import os

for _name in list(os.environ):
    if _name.startswith(("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_")):
        del os.environ[_name]
