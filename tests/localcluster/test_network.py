from ipaddress import IPv4Network
from random import Random

import pytest

from localcluster.errors import LocalClusterError
from localcluster.network import (
    PORTS,
    SERVICE_RANGES,
    choose_ports,
    choose_range,
    free_ports,
    ranges_in,
)


def test_the_slices_fill_the_loopback_half_that_is_ours() -> None:
    assert len(SERVICE_RANGES) == 64
    assert SERVICE_RANGES[0] == IPv4Network("127.64.0.0/16")
    assert SERVICE_RANGES[-1] == IPv4Network("127.127.0.0/16")


def test_every_slice_is_given_once_and_then_the_error_says_what_to_do() -> None:
    taken: set[IPv4Network] = set()
    for _ in SERVICE_RANGES:
        taken.add(choose_range(taken, Random(1)))
    assert taken == set(SERVICE_RANGES)
    with pytest.raises(LocalClusterError, match="down --all"):
        choose_range(taken, Random(1))


def test_a_range_that_overlaps_slices_takes_them_all() -> None:
    half = IPv4Network("127.64.0.0/11")
    assert not choose_range({half}, Random(3)).overlaps(half)


def test_ranges_are_read_from_any_api_server_of_the_machine() -> None:
    lines = [
        "/x/kube-apiserver --secure-port=1 --service-cluster-ip-range=127.70.0.0/16 --v=1",
        "/x/kube-apiserver --service-cluster-ip-range=10.96.0.0/12",
        "less --service-cluster-ip-range",
    ]
    assert ranges_in(lines) == {IPv4Network("127.70.0.0/16")}


def test_ports_are_distinct_free_and_nobodys() -> None:
    taken = set(PORTS[:-4])
    last = PORTS[-1]
    chosen = choose_ports(3, taken, Random(1), lambda port: port != last)
    assert sorted(chosen) == [last - 3, last - 2, last - 1]


def test_too_few_ports_is_an_error_that_says_where() -> None:
    with pytest.raises(LocalClusterError, match="18000 to 29999"):
        choose_ports(3, (), Random(1), lambda _: False)


def test_a_port_is_given_once_though_nobody_has_bound_it_yet() -> None:
    given = [port for _ in range(50) for port in free_ports(2)]
    assert len(set(given)) == len(given)
