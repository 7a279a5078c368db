"""Collectives over a fabric: bytes and seconds worked by hand, level by level (section 3)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer import links
from energaizer.links import (
    ALL_GATHER,
    ALL_REDUCE,
    ALL_TO_ALL,
    OPERATIONS,
    REDUCE_SCATTER,
    SEND,
    Level,
)

MIB = 2.0**20
LINK = Level(8.0, 450e9, 2e-6)
NETWORK = Level(math.inf, 50e9, 5e-6, "network")
FABRIC = (LINK, NETWORK)
ALONE = (Level(math.inf, 450e9, 0.0),)


def one(operation, message, ranks, stride=1.0, fabric=FABRIC):
    rows = (np.array([float(value)]) for value in (operation, message, ranks, stride))
    found = links.exchange(*rows, fabric)
    return found.seconds[0], found.sent_bytes[0]


def test_ring_all_reduce_of_the_reference():
    seconds, sent = one(ALL_REDUCE, MIB, 8, fabric=ALONE)
    assert seconds * 1e6 == pytest.approx(4.078, abs=0.0005)
    assert sent == pytest.approx(2 * 7 / 8 * MIB)


def test_a_small_message_goes_in_one_shot():
    seconds, _ = one(ALL_REDUCE, 1024, 8, fabric=(Level(math.inf, 450e9, 2e-6),))
    assert seconds == pytest.approx(2e-6 + 7 * 1024 / 450e9)


@pytest.mark.parametrize("operation", [ALL_GATHER, REDUCE_SCATTER])
def test_gathering_is_half_of_a_reduction(operation):
    seconds, sent = one(operation, MIB, 8, fabric=ALONE)
    assert (seconds, sent) == pytest.approx((7 / 8 * MIB / 450e9, 7 / 8 * MIB))


def test_all_reduce_over_two_nodes_is_inside_between_inside():
    message = 1e9
    inside = 2 * 7 * (2e-6 + message / 8 / 450e9)
    between = 2 * 1 * (5e-6 + message / 8 / 2 / 50e9)
    seconds, sent = one(ALL_REDUCE, message, 16)
    assert seconds == pytest.approx(inside + between)
    assert sent == pytest.approx(message * (2 * 7 / 8 + 2 / 8 * 1 / 2))


def test_many_nodes_reduce_in_trees():
    seconds, _ = one(ALL_REDUCE, 1e6, 4096, 8)
    assert seconds == pytest.approx(2 * (12 * 5e-6 + 1e6 / 50e9))


def test_a_stride_decides_who_is_near():
    near, _ = one(ALL_REDUCE, 1e9, 8, 1)
    far, _ = one(ALL_REDUCE, 1e9, 8, 8)  # one rank a node: all of it over the network
    assert near == pytest.approx(2 * 7 * (2e-6 + 1e9 / 8 / 450e9))
    assert far == pytest.approx(2 * 7 * (5e-6 + 1e9 / 8 / 50e9))
    half, _ = one(ALL_GATHER, 1e9, 8, 4)  # two ranks a node, four nodes
    assert half == pytest.approx((2e-6 + 1e9 / 2 / 450e9) + 3 * (5e-6 + 1e9 / 2 / 4 / 50e9))


def test_all_to_all_speaks_to_all_at_once():
    seconds, sent = one(ALL_TO_ALL, 16e6, 16)
    assert seconds == pytest.approx(max(7 * 2e-6 + 7e6 / 450e9, 8 * 5e-6 + 8e6 / 50e9))
    assert sent == pytest.approx(15e6)


def test_a_neighbour_is_in_the_node_or_beyond():
    assert one(SEND, 1e6, 2, 4) == pytest.approx((2e-6 + 1e6 / 450e9, 1e6))
    assert one(SEND, 1e6, 2, 8) == pytest.approx((5e-6 + 1e6 / 50e9, 1e6))


def test_a_mesh_lends_a_pair_one_of_its_links():
    mesh = (LINK._replace(kind="mesh"), NETWORK)
    pair, _ = one(ALL_GATHER, 1e9, 2, fabric=mesh)
    assert pair == pytest.approx(2e-6 + 1e9 / 2 / (450e9 / 7))
    assert one(ALL_GATHER, 1e9, 8, fabric=mesh) == one(ALL_GATHER, 1e9, 8)


def test_three_levels_pair_pcie_network():
    fabric = (Level(2.0, 56e9, 1e-6), Level(8.0, 24e9, 7e-6), NETWORK)
    seconds, _ = one(ALL_GATHER, 1e9, 16, fabric=fabric)
    pair, inside = 1e-6 + 1e9 / 2 / 56e9, 3 * (7e-6 + 1e9 / 2 / 4 / 24e9)
    assert seconds == pytest.approx(pair + inside + 5e-6 + 1e9 / 8 / 2 / 50e9)


@given(
    st.sampled_from(range(len(OPERATIONS))),
    st.floats(1.0, 1e10),
    st.integers(1, 4096),
    st.sampled_from([1, 2, 4, 8, 64]),
)
def test_a_wider_domain_is_never_slower(operation, message, ranks, stride):
    narrow, _ = one(operation, message, ranks, stride)
    wide, sent = one(operation, message, ranks, stride, (LINK._replace(boards=72.0), NETWORK))
    hops = 5e-6 * ranks  # a ring of many near ranks may take more hops than a tree of few far ones
    assert wide <= narrow * (1 + 1e-9) + hops
    assert (sent == 0) == (ranks == 1)


@pytest.mark.parametrize(
    ("stages", "micro", "loops", "share"),
    [(8, 32, 1, 0.1795), (8, 32, 2, 0.0986), (4, 8, 1, 0.2727)],
)
def test_bubble(stages, micro, loops, share):
    assert links.pipeline_bubble(stages, micro, loops) == pytest.approx(share, abs=5e-5)
