"""What the guest's agent may be asked to do, for pods that are rendered here. Pure.

The agent takes requests from the host, whom nobody trusts. It starts one image, by its digest, with
the arguments and variables that were rendered, mounts nothing over the program, and opens no shell.
Without such rules the operator starts the image with a program of his, which asks for evidence and
says in it what he likes. What is not allowed here is refused, an unknown request among it.

The words are those of Kata's agent (`CreateContainerRequest` and its like) and of Rego v1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

__all__ = ["INDEX_VARIABLE", "PATH", "agent_policy"]

# What an indexed Job's controller sets, and `$(…)` in an argument becomes.
INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"
PATH: Final = "/opt/cloister/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a container runtime mounts in every container, beside what a manifest says.
_USUAL_MOUNTS: Final = (
    "/dev",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",  # noqa: S108  # of the guest
    "/dev/termination-log",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
)
_RULES: Final = """\
package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

# Whatever is not named here is refused.
default CreateSandboxRequest := true
default DestroySandboxRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default OnlineCPUMemRequest := true
default PullImageRequest := true
default ReadStreamRequest := true
default RemoveContainerRequest := true
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default UpdateEphemeralMountsRequest := true
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true

default CopyFileRequest := false
default CreateContainerRequest := false
default ExecProcessRequest := false
default SetPolicyRequest := false
default WriteStreamRequest := false

# Files of ConfigMaps and the like, which nobody believes, to where they are mounted from.
CopyFileRequest if {
    not contains(input.path, "..")
    regex.match("^/run/kata-containers/shared/containers/[a-z0-9]{64}-[a-z0-9]{16}-", input.path)
}

# The pod's own, which does nothing, and which the guest has.
CreateContainerRequest if {
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_sandbox"
    input.OCI.Process.Args == ["/pause"]
    runs_image("pause")
}

# Ours.
CreateContainerRequest if {
    input.OCI.Annotations["io.katacontainers.pkg.oci.container_type"] == "pod_container"
    runs_image(rendered.image)
    some command in rendered.commands
    same_command(command, input.OCI.Process.Args)
    every variable in input.OCI.Process.Env {
        some pattern in rendered.variables
        regex.match(pattern, variable)
    }
    every mount in input.OCI.Mounts {
        mount.destination in rendered.mounts
    }
}

# Pulled inside of the guest, and its root is what was pulled: nothing of the host's lies there.
runs_image(image) if {
    object.get(input.OCI, "Hooks", null) == null
    regex.match("^/run/kata-containers/[a-z0-9]{64}/rootfs$", input.OCI.Root.Path)
    pulled := [storage | some storage in input.storages; storage.driver == "image_guest_pull"]
    count(pulled) == 1
    pulled[0].source == image
    pulled[0].mount_point == input.OCI.Root.Path
    every storage in input.storages {
        elsewhere(storage)
    }
}

elsewhere(storage) if storage.driver == "image_guest_pull"

elsewhere(storage) if {
    not contains(storage.mount_point, "..")
    regex.match("^/run/kata-containers/(sandbox|shared/containers)/", storage.mount_point)
}

same_command(command, arguments) if {
    count(command) == count(arguments)
    every position, word in command {
        same_word(word, arguments[position])
    }
}

same_word(word, argument) if word == argument

same_word(word, argument) if {
    word == "$(JOB_COMPLETION_INDEX)"
    regex.match("^(0|[1-9][0-9]{0,2})$", argument)
}
"""


def agent_policy(image: str, commands: Sequence[Sequence[str]], mounts: Sequence[str]) -> str:
    """Return the rules for one job.

    Args:
        image: Its reference, by digest.
        commands: What the pods' containers run, argv by argv.
        mounts: Where the manifests mount something.
    """
    facts = {
        "image": image,
        "commands": [list(command) for command in commands],
        "mounts": sorted({*_USUAL_MOUNTS, *mounts}),
        "variables": [
            "^PATH=" + PATH.replace(".", "[.]") + "$",
            "^HOME=/root$",
            "^HOSTNAME=[a-z0-9.-]{1,253}$",
            f"^{INDEX_VARIABLE}=[0-9]{{1,3}}$",
            "^KUBERNETES_[A-Z0-9_]{1,64}=[a-z0-9:./-]{0,64}$",
        ],
    }
    return f"{_RULES}\nrendered := {json.dumps(facts, indent=2)}\n"
