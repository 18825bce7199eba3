"""Namespaces, mounts and filters around a program that has no say in them; knows no models.

Example::

    sandbox = Sandbox(SandboxSpec(binds=(Bind("/usr", "/usr"),)))
    sandbox.start()                     # returns at once; the stage is built beside us
    descriptors = sandbox.mount([FuseMount("/data", fsname="cloister", read_only=True)])
    sandbox.go(Command(argv=("/usr/bin/true",), environment={}, directory="/"))
    exit = sandbox.wait()
    sandbox.close()
"""

from cloister.confinement.mounts import Bind, FuseMount
from cloister.confinement.network import NetworkSpec, SandboxNetwork
from cloister.confinement.nftables import RefusedPackets
from cloister.confinement.sandbox import Command, Exit, Sandbox, SandboxSpec

__all__ = [
    "Bind",
    "Command",
    "Exit",
    "FuseMount",
    "NetworkSpec",
    "RefusedPackets",
    "Sandbox",
    "SandboxNetwork",
    "SandboxSpec",
]
