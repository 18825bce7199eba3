"""A recipe that wants the records out: it tries what it can, and tells what came of it."""

import ctypes
import errno
import json
import os
import socket

import numpy as np


def connect(spec):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as out:
        out.connect(("127.0.0.1", spec["port"]))


def connect_locally(spec):  # noqa: ARG001  # all have one form
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
        out.bind(f"\0cloister-spy-{os.getpid()}")


def read_a_file(spec):
    with open(spec["read"], "rb") as file:  # noqa: PTH123  # as whoever spies writes it
        file.read()


def leave_a_file(spec):
    with open(spec["leave"], "wb") as file:  # noqa: PTH123  # the same
        file.write(b"x")


def start_a_program(spec):  # noqa: ARG001  # all have one form
    os.execv("/bin/sh", ["sh", "-c", "true"])  # noqa: S606  # that is the attempt


def look_at_others(spec):  # noqa: ARG001  # all have one form
    os.listdir("/proc/1")  # noqa: PTH208  # names are enough


def make_a_namespace(spec):  # noqa: ARG001  # all have one form
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


TRIES = {
    "opens a connection": connect,
    "opens a local socket": connect_locally,
    "reads a file of the machine": read_a_file,
    "leaves a file on the machine": leave_a_file,
    "starts a program": start_a_program,
    "looks at other processes": look_at_others,
    "makes a namespace": make_a_namespace,
}


def build(spec, x, y):  # noqa: ARG001  # it looks at everything else
    found = {}
    for name, attempt in TRIES.items():
        try:
            attempt(spec)
            found[name] = ""
        except OSError as e:  # anything else is a mistake of this recipe's, and no refusal
            found[name] = errno.errorcode[e.errno]
    text = json.dumps(found).encode()
    return {"parameters": np.zeros(1), "state": {"tried": np.frombuffer(text, np.uint8)}}
