"""A fake of NVIDIA's management library, in C, so that a compiler lays out its structures.

Structures and functions are declared as NVIDIA's `nvml.h` has them. What it answers lies in a
folder that the variable `FAKE_NVML` names: `report0` and `certificates0` are blobs of the first
GPU; `count0`, `architecture0`, `feature0` and sizes are numbers; `report.code0` is what the
function returns. It keeps the nonces that it got, and when it was started and stopped. Where a test
cannot know the nonce before, `answering` makes each report when it is asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError

__all__ = ["FAKE_NVML", "FakeNvml", "build_library", "find_compiler"]

FAKE_NVML: Final = "FAKE_NVML"
_SOURCE: Final = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef unsigned int nvmlDeviceArchitecture_t;
typedef struct { unsigned int environment, ccFeature, devToolsMode; } nvmlConfComputeSystemState_t;
typedef struct {
    unsigned int certChainSize;
    unsigned int attestationCertChainSize;
    unsigned char certChain[0x1000];
    unsigned char attestationCertChain[0x1400];
} nvmlConfComputeGpuCertificate_t;
typedef struct {
    unsigned int isCecAttestationReportPresent;
    unsigned int attestationReportSize;
    unsigned int cecAttestationReportSize;
    unsigned char nonce[0x20];
    unsigned char attestationReport[0x2000];
    unsigned char cecAttestationReport[0x1000];
} nvmlConfComputeGpuAttestationReport_t;

static size_t answer(const char *name, unsigned int index, void *to, size_t most) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%u", getenv("FAKE_NVML"), name, index);
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    size_t found = fread(to, 1, most, file);
    fclose(file);
    return found;
}

static long number(const char *name, long otherwise) {
    char text[32] = {0};
    return answer(name, 0, text, sizeof text - 1) ? atol(text) : otherwise;
}

static nvmlReturn_t code(const char *name) {
    char key[128];
    snprintf(key, sizeof key, "%s.code", name);
    return (nvmlReturn_t)number(key, 0);
}

static void record(const char *name, const void *from, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("FAKE_NVML"), name);
    FILE *file = fopen(path, "ab");
    if (file) { fwrite(from, 1, size, file); fclose(file); }
}

nvmlReturn_t nvmlInit_v2(void) { record("log", "i", 1); return code("init"); }
nvmlReturn_t nvmlShutdown(void) { record("log", "s", 1); return code("shutdown"); }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = (unsigned int)number("count", 1);
    return code("count");
}
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    *device = (nvmlDevice_t)(0x7f0000000000ul + index);
    return code("handle");
}
static unsigned int place(nvmlDevice_t device) {
    return (unsigned int)((unsigned long)device - 0x7f0000000000ul);
}
nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *found) {
    (void)device;
    *found = (unsigned int)number("architecture", 9);
    return code("architecture");
}
nvmlReturn_t nvmlSystemGetConfComputeState(nvmlConfComputeSystemState_t *state) {
    state->environment = 2;
    state->ccFeature = (unsigned int)number("feature", 1);
    state->devToolsMode = 0;
    return code("state");
}
nvmlReturn_t nvmlDeviceGetConfComputeGpuCertificate(
    nvmlDevice_t device, nvmlConfComputeGpuCertificate_t *found) {
    memset(found, 0xee, sizeof *found);
    size_t size = answer(
        "certificates", place(device), found->attestationCertChain,
        sizeof found->attestationCertChain);
    found->certChainSize = 0;
    found->attestationCertChainSize = (unsigned int)number("certificates.size", (long)size);
    return code("certificates");
}
#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetConfComputeGpuAttestationReport(
    nvmlDevice_t device, nvmlConfComputeGpuAttestationReport_t *found) {
    record("nonces", found->nonce, sizeof found->nonce);
    size_t size = answer(
        "report", place(device), found->attestationReport, sizeof found->attestationReport);
    found->isCecAttestationReportPresent = 0;
    found->cecAttestationReportSize = 0;
    found->attestationReportSize = (unsigned int)number("report.size", (long)size);
    return code("report");
}
#endif
"""


@dataclass(frozen=True, slots=True)
class FakeNvml:
    """The compiled library, and the folder with its answers."""

    library: Path
    folder: Path

    def put(self, name: str, value: bytes | int) -> None:
        """Have it answer so."""
        data = value if isinstance(value, bytes) else str(value).encode()
        (self.folder / name).write_bytes(data)

    @contextmanager
    def answering(self, report: Callable[[bytes], bytes]) -> Iterator[None]:
        """Have the first GPU report over whatever nonce it gets, through pipes that block."""
        nonces, reports = self.folder / "nonces", self.folder / "report0"
        for path in (nonces, reports):
            path.unlink(missing_ok=True)
            os.mkfifo(path)

        def answer() -> None:
            while nonce := nonces.read_bytes():
                with reports.open("wb") as out:
                    out.write(report(nonce))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            nonces.open("wb").close()  # no nonce: the end
            thread.join()

    def written(self, name: str) -> bytes:
        """Return what it kept: `nonces`, or `log` with `i` for each start and `s` for each stop."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""


def find_compiler() -> str | None:
    """Return a C compiler, or None where there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def build_library(folder: Path, *flags: str) -> Path:
    """Compile the fake into a folder; `-DOLD_DRIVER` leaves out what makes reports.

    Raises:
        ConfigError: There is no compiler.
    """
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError("there is no C compiler", code="config.missing")
    source, library = folder / "nvml.c", folder / "libnvidia-ml.so.1"
    source.write_text(_SOURCE, encoding="ascii")
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", *flags, "-o"]
    subprocess.run([*command, library, source], check=True, timeout=60)  # noqa: S603  # our words
    return library
