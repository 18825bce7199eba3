"""Run what a task of a cluster with parameter servers is for, by what TF_CONFIG says it is.

    python server_or_coordinator.py SERVER COORDINATOR

Workers and parameter servers run the script SERVER, the chief runs COORDINATOR. Both stay as they
are, and find what the cells of a notebook find that ran before them: `os`, `tf`,
`cluster_resolver`, and the numbers `NUM_WORKERS` and `NUM_PS`, here those of the real cluster.
"""

import os
import runpy
import sys
import types

# TensorFlow's tutorial says it of every task: failures are reported to the coordinator.
os.environ["GRPC_FAIL_FAST"] = "use_caller"

import tensorflow as tf


def main(server, coordinator):
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    jobs = resolver.cluster_spec().as_dict()
    known = {
        "os": os,
        "tf": tf,
        "cluster_resolver": resolver,
        "NUM_WORKERS": len(jobs["worker"]),
        "NUM_PS": len(jobs["ps"]),
    }
    # Imported by the tutorial for a cluster inside one process, which this is not.
    sys.modules.setdefault("portpicker", types.ModuleType("portpicker"))
    scripts = {"worker": server, "ps": server, "chief": coordinator}
    runpy.run_path(scripts[resolver.task_type], init_globals=known, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
