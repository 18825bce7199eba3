"""Talk over one connection for longer than the certificates last that it was opened with.

Task 1 calls task 0, sends numbered messages, and gets each back. It ends when `LASTS_S` seconds
have passed and both have found `CERTIFICATES` certificates, one after the other, in the folder in
which the newest lies; then it calls once more. It knows of no shield but that folder.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

CERTIFICATE = Path("/run/cloister/identity/cert.pem")
LASTS_S = float(os.environ["LASTS_S"])
WANTED = int(os.environ["CERTIFICATES"])
LONGEST_S = LASTS_S + 60
PAUSE_S = 0.05
WAIT_S = 10.0  # for one message: a connection that is dead and not cut is found, too
MESSAGE = struct.Struct(">QB4087x")

BEGAN = time.monotonic()
found: list[str] = []
gaps = [0.0]
talked: list[float] = []


def look() -> None:
    """Keep the certificate, if it is another one."""
    now = CERTIFICATE.read_text("ascii")
    if now not in found:
        found.append(now)


def receive(connection: socket.socket) -> tuple[int, int] | None:
    """Return a message's number and how many certificates its sender has found; None at the end."""
    data = b""
    while len(data) < MESSAGE.size:
        more = connection.recv(MESSAGE.size - len(data))
        if not more:
            if data:
                raise ConnectionError("the end came inside a message")
            return None
        data += more
    number, theirs = MESSAGE.unpack(data)
    return number, theirs


def answer(connection: socket.socket) -> int:
    """Send back what comes; return how many messages that was."""
    connection.settimeout(WAIT_S)
    count = 0
    while (message := receive(connection)) is not None:
        look()
        connection.sendall(MESSAGE.pack(message[0], len(found)))
        count += 1
    return count


def ask(connection: socket.socket, number: int) -> int:
    """Send one message, and return how many certificates the other has found."""
    look()
    before = time.monotonic()
    connection.sendall(MESSAGE.pack(number, len(found)))
    message = receive(connection)
    gaps.append(time.monotonic() - before)
    if message is None or message[0] != number:
        raise ConnectionError(f"{message} came back for {number}")
    return message[1]


def call(place: tuple[str, int]) -> socket.socket:
    """Open a connection; the other task may not be there yet."""
    while True:
        try:
            return socket.create_connection(place, timeout=WAIT_S)
        except OSError:
            if time.monotonic() - BEGAN > LONGEST_S:
                raise
            time.sleep(0.1)


def main() -> list[int]:
    """Return how many messages each of the two connections carried."""
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ["RANK"] == "0":
        with socket.create_server(("", place[1])) as listener:
            listener.settimeout(LONGEST_S)
            counts = []
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    counts.append(answer(connection))
        return counts
    count = 0
    with call(place) as connection:
        theirs = 0
        while time.monotonic() - BEGAN < LASTS_S or min(len(found), theirs) < WANTED:
            if time.monotonic() - BEGAN > LONGEST_S:
                raise TimeoutError(f"{len(found)} and {theirs} certificates")
            theirs = ask(connection, count)
            count += 1
            time.sleep(PAUSE_S)
        talked.append(time.time())  # noqa: TID251  # compared with when certificates end
    with call(place) as connection:
        ask(connection, count)
    return [count, 1]


counts = main()
report = {"certificates": found, "counts": counts, "gap_s": max(gaps), "talked": talked}
sys.stdout.write(json.dumps(report) + "\n")
