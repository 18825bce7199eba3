"""What a workload's network may look like, its names, and the maker of sockets."""

from __future__ import annotations

import os
import socket
import time

import pytest

from cloister.confinement.network import (
    MAX_ASKED,
    Inside,
    NetworkSpec,
    SandboxNetwork,
    SocketMaker,
    hosts_text,
)
from cloister.errors import ConfigError

_OWN = "10.77.4.1"


@pytest.mark.parametrize(
    "address",
    ["", "10.77.4", "10.77.4.256", "010.77.4.1", "::1", "127.0.0.1", "127.7.7.7", "0.0.0.0",  # noqa: S104  # refused
     "224.0.0.1", "255.255.255.255", "240.0.0.1", "169.254.1.1", "10.77.4.1; drop", "worker-0"],
)  # fmt: skip
def test_an_address_is_plain_ipv4_that_a_task_can_have(address: str) -> None:
    """`config.value` wherever one is: nothing else reaches rules and files."""
    for spec in (
        lambda: NetworkSpec(address, (), None),
        lambda: NetworkSpec(_OWN, ((address, ("ps-0",)),), None),
        lambda: NetworkSpec(_OWN, (), ((address, 2222),)),
    ):
        with pytest.raises(ConfigError) as caught:
            spec()
        assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a\nb", "-a", "a-", ".a", "a..b", "a.", "ä", "a#b", "x" * 64, "localhost",
     ".".join(["x" * 60] * 5)],
)  # fmt: skip
def test_a_name_is_a_host_name(name: str) -> None:
    """`config.value`, also for the hostname: nothing else gets into /etc/hosts."""
    with pytest.raises(ConfigError):
        NetworkSpec(_OWN, (("10.77.0.1", (name,)),), None)
    with pytest.raises(ConfigError):
        hosts_text(NetworkSpec(_OWN, (), None), name)


@pytest.mark.parametrize(
    "static",
    [
        (("10.77.0.1", 0),),
        (("10.77.0.1", 65536),),
        (("10.77.0.1", 1), ("10.77.0.1", 1)),
        ((_OWN, 2222),),
        tuple(("10.77.0.1", port) for port in range(1, 514)),
    ],
)
def test_static_pairs_are_few_different_ports_of_others(
    static: tuple[tuple[str, int], ...],
) -> None:
    """`config.value` for what would be no listener, or the workload's own."""
    with pytest.raises(ConfigError):
        NetworkSpec(_OWN, (), static)


def test_names_are_the_loopbacks_then_ones_own_then_the_others() -> None:
    """The hostname comes first for the own address, so that a look-up backwards finds it."""
    spec = NetworkSpec(
        _OWN,
        (
            (_OWN, ("worker-0", "worker")),
            ("10.77.0.1", ("ps-0", "ps")),
            ("10.78.0.1", ("mlflow.example.org",)),
        ),
        None,
    )
    assert hosts_text(spec, "worker-0") == (
        "127.0.0.1 localhost\n"
        "::1 localhost\n"
        "10.77.4.1 worker-0\n"
        "10.77.4.1 worker\n"
        "10.77.0.1 ps-0 ps\n"
        "10.78.0.1 mlflow.example.org\n"
    )


def test_a_hostname_that_is_another_hosts_is_refused() -> None:
    """It would resolve to two addresses, of which one is not where the workload listens."""
    with pytest.raises(ConfigError):
        hosts_text(NetworkSpec(_OWN, (("10.77.0.1", ("ps-0",)),), None), "ps-0")


def _ask(other: socket.socket, request: bytes) -> None:
    assert other.send(request) == len(request)


def _take(other: socket.socket) -> list[tuple[object, ...]]:
    """Take one answer and close what came; return what each socket was."""
    count, descriptors, flags, _ = socket.recv_fds(other, 2, MAX_ASKED)
    assert count == bytes([len(descriptors)])
    assert not flags & socket.MSG_CTRUNC
    made: list[tuple[object, ...]] = []
    for descriptor in descriptors:
        with socket.socket(fileno=descriptor) as each:
            made.append((each.family, each.type, each.getsockname()))
    return made


@pytest.mark.parametrize("wanted", [1, 2, MAX_ASKED])
def test_as_many_sockets_come_as_were_asked_for(wanted: int) -> None:
    """Fresh TCP sockets, connected to nobody; the maker keeps none."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    maker, other = SocketMaker.pair()
    with other:
        _ask(other, bytes([wanted]))
        assert maker.serve() is True
        made = _take(other)
    maker.close()
    nowhere = ("0.0.0.0", 0)  # noqa: S104  # what a fresh socket says
    assert made == [(socket.AF_INET, socket.SOCK_STREAM, nowhere)] * wanted
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # a count


@pytest.mark.parametrize("request_", [b"\x00", bytes([MAX_ASKED + 1]), b"\xff", b"\x01\x01"])
def test_a_request_that_none_is_gets_no_answer(request_: bytes) -> None:
    """And the next one does."""
    maker, other = SocketMaker.pair()
    with other:
        other.settimeout(0)
        _ask(other, request_)
        assert maker.serve() is True
        with pytest.raises(BlockingIOError):
            other.recv(1)
        _ask(other, b"\x01")
        assert maker.serve() is True
        assert len(_take(other)) == 1
    assert maker.serve() is False
    maker.close()


def test_nobody_waits_for_somebody_who_does_not_read() -> None:
    """Answers are dropped when there is no more room, no descriptor is left, and nothing waits."""
    maker, other = SocketMaker.pair()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    started = time.monotonic()
    with other:
        assert maker.serve() is True  # nothing was asked
        for _ in range(300):
            _ask(other, b"\x01")
            assert maker.serve() is True
        answers = 0
        other.settimeout(0)
        try:
            while True:
                assert len(_take(other)) == 1
                answers += 1
        except BlockingIOError:
            pass
        assert 0 < answers < 300
        _ask(other, b"\x02")
        assert maker.serve() is True
        assert len(_take(other)) == 2
    assert time.monotonic() - started < 5
    maker.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2  # noqa: PTH208  # a count


def test_where_no_descriptor_is_left_fewer_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count says how many."""
    maker, other = SocketMaker.pair()
    real, made = socket.socket, []

    def scarce(*arguments: int) -> socket.socket:
        if len(made) == 2:
            raise OSError(24, "Too many open files")
        made.append(1)
        return real(*arguments)

    with other:
        with monkeypatch.context() as patched:
            patched.setattr("cloister.confinement.network.socket.socket", scarce)
            _ask(other, b"\x05")
            assert maker.serve() is True
        assert len(_take(other)) == 2
    maker.close()


def test_sockets_are_handed_out_once_in_batches_and_let_go() -> None:
    """First the maker's other end, then the resolver, then the listeners in order."""
    maker, other = SocketMaker.pair()
    listeners = [socket.socket() for _ in range(5)]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside = Inside(listeners, names, maker, other, redirected=False)
    wanted = [other.fileno(), names.fileno(), *(each.fileno() for each in listeners)]
    first, left = inside.next_batch(4)
    second, none = inside.next_batch(4)
    assert (first + second, left, none) == (wanted, 3, 0)
    inside.let_go()
    assert all(each.fileno() == -1 for each in (other, names, *listeners))
    assert maker.serve() is False
    maker.close()
    inside.let_go()


def test_the_callers_descriptors_can_be_listed() -> None:
    """So that none is forgotten when they are closed or passed on."""
    assert SandboxNetwork((5, 6), maker=3, names=4).descriptors() == (3, 4, 5, 6)
