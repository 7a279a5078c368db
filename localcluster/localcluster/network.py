"""Chooses ports and service ranges that no live instance has."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv4Network
from random import Random, SystemRandom

from localcluster.errors import LocalClusterError

SERVICE_RANGES = tuple(IPv4Network("127.64.0.0/10").subnets(new_prefix=16))
"""Loopback slices for ClusterIPs, 127.64.0.0/16 to 127.127.0.0/16: one a live instance."""

PORTS = range(18000, 30000)
"""Below the ports that Linux gives to outgoing connections (32768 up), so that none slips in
between the choice and the bind; above those that services usually have."""

_GIVEN: set[int] = set()

_RANGE_FLAG = re.compile(r"--service-cluster-ip-range=(127\.\d+\.\d+\.\d+/\d+)")


def ranges_in(command_lines: Iterable[str]) -> set[IPv4Network]:
    """Return the loopback service ranges of the API servers in a list of command lines."""
    return {
        IPv4Network(found, strict=False)
        for line in command_lines
        for found in _RANGE_FLAG.findall(line)
    }


def choose_range(taken: Collection[IPv4Network], random: Random) -> IPv4Network:
    """Return a service range that overlaps none of `taken`.

    Args:
        taken: Ranges of the live instances.
        random: Where to start; users without common records rarely start at the same one.
    """
    free = [one for one in SERVICE_RANGES if not any(one.overlaps(other) for other in taken)]
    if not free:
        raise LocalClusterError(
            f"all {len(SERVICE_RANGES)} service ranges of 127.64.0.0/10 are in use; stop some "
            "instances: python -m localcluster down --all"
        )
    return random.choice(free)


def choose_ports(
    count: int, taken: Collection[int], random: Random, is_free: Callable[[int], bool]
) -> tuple[int, ...]:
    """Return distinct free ports.

    Args:
        count: How many.
        taken: Ports of live instances, free or not at the moment.
        random: Order of the search.
        is_free: Says whether a port can be bound.
    """
    chosen: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if port not in taken and is_free(port):
            chosen.append(port)
            if len(chosen) == count:
                return tuple(chosen)
    raise LocalClusterError(
        f"fewer than {count} free ports from {PORTS.start} to {PORTS.stop - 1} on 127.0.0.1; "
        "`ss -ltn` shows who has them"
    )


def free_ports(count: int) -> tuple[int, ...]:
    """Return distinct free ports that this process was never given before.

    Who got one earlier may be about to bind it, seconds later on a busy machine.
    """
    chosen = choose_ports(count, _GIVEN, SystemRandom(), can_bind)
    _GIVEN.update(chosen)
    return chosen


def can_bind(port: int) -> bool:
    """Say whether a port of 127.0.0.1 can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
