"""Import this before NumPy: it takes settings for numerical libraries out of the environment.

Somebody's shell may choose slower kernels or other thread counts for a library, which reads its
variables when it is loaded. What a benchmark wants, it sets itself.
"""

import os

for _name in list(os.environ):
    if _name.startswith(("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_")):
        del os.environ[_name]
