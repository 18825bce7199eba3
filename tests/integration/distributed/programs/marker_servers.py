"""Write the marker into a variable on a parameter server, between graphs, and read it back."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
told = json.loads(os.environ["TF_CONFIG"])
task, index = told["task"]["type"], told["task"]["index"]
cluster = tf.train.ClusterSpec(told["cluster"])
filters = v1.ConfigProto(device_filters=["/job:ps", f"/job:{task}/task:{index}"])
server = tf.distribute.Server(cluster, job_name=task, task_index=index, config=filters)
if task == "ps":
    server.join()

marker = np.tile(np.frombuffer(bytes.fromhex(os.environ["MARKER"]), "<f4"), 1000)
with tf.Graph().as_default():
    with v1.device(v1.train.replica_device_setter(cluster=cluster)):
        variable = v1.get_variable("weights", marker.shape, initializer=v1.zeros_initializer())
        given = v1.placeholder(tf.float32, marker.shape)
        write = variable.assign_add(given)
    with v1.train.MonitoredTrainingSession(server.target, is_chief=index == 0) as session:
        session.run(write, {given: marker})
        found = session.run(variable)
sys.stdout.write(json.dumps(found.tobytes() == marker.tobytes()) + "\n")
