"""The process that Spark forks its Python workers from: pyspark's daemon, with heavy modules imported beforehand.

Importing torch and open_clip takes seconds of a core. Imported before the fork, they take them once and not once for
each worker, and the workers share their memory. Only two things must not happen before a fork: an OpenMP region and
the initialization of CUDA. Importing these modules does neither; a test checks that.

A job names its modules in the variable PRELOAD; Spark starts a daemon of its own for each set of variables. Where the
package `jobs` is shipped with `--py-files` and not installed, set `spark.python.daemon.module=pyspark.daemon`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

from pyspark.daemon import manager

#: Environment variable: names of modules, separated by commas.
PRELOAD = "LOOKALIKE_PRELOAD"


def preload() -> None:
    """Import the modules that PRELOAD names. One that fails is left to the tasks: their errors are reported."""
    stdout = os.dup(1)
    os.dup2(2, 1)  # Spark reads the daemon's port from stdout: nothing else may be written there
    try:
        for name in filter(None, os.environ.get(PRELOAD, "").split(",")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    gc.freeze()  # a collection in a worker would write to every object, and so copy the shared memory


if __name__ == "__main__":
    preload()
    manager()
