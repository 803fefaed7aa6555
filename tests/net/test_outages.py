"""Peers on hosts of their own, with cables that lose packets, are cut, and lead through a NAT (T1, T2).

Each test ends with one order of everything that was sent, at all four. Figures of a long run are printed for
docs/campaigns.md; `SYNCPOINT_NET=long` makes the outages and amounts those of a campaign.
"""

from __future__ import annotations

import time

import pytest

from .networks import LONG, PEERS, running

pytestmark = pytest.mark.native

DELAY_S = 0.05  # each way
LOSS = 0.01
LINES = 25_000  # of each peer, over cables that are slow and lossy
OUTAGE_S = 30.0 if LONG else 1.0  # after it was noticed, which takes seconds
FEW = 500


async def test_a_hundred_thousand_transactions_over_slow_cables_that_lose_packets(seed: int) -> None:
    async with running(seed=seed, delay_s=DELAY_S, loss=LOSS) as net:
        await net.start()
        begin = time.monotonic()
        net.send(LINES)
        await net.until_received(PEERS * LINES)
        wire = net.hosts.wire
        print(f"{PEERS * LINES} transactions in {time.monotonic() - begin:.1f} s; packets lost: {wire.lost}")
        assert wire.lost > 0, "the cables are too good"
        await net.finish()


async def test_one_host_is_cut_off_and_comes_back(seed: int) -> None:
    async with running(seed=seed) as net:
        await net.start(lines=FEW)
        net.hosts.wire.cut([3])
        net.send(FEW)
        await net.until_received(7 * FEW, [0, 1, 2])  # the others go on
        await net.until_linked(2, 2, 2, 0)
        await net.hold(OUTAGE_S)
        assert net.peers[3].lines == 4 * FEW, "it received something over no cable"
        assert [peer.lines for peer in net.peers[:3]] == [7 * FEW] * 3
        net.hosts.wire.heal()
        begin = time.monotonic()
        await net.until_received(len(net.text))
        print(f"{OUTAGE_S:g} s after an outage was noticed it ended; all is there in {time.monotonic() - begin:.1f} s")
        await net.until_linked(3, 3, 3, 3)
        await net.finish()


async def test_nothing_is_final_while_no_three_are_together(seed: int) -> None:
    async with running(seed=seed) as net:
        await net.start(lines=FEW)
        net.hosts.wire.cut([0, 1], [2, 3])
        net.send(FEW)  # after the cut: so it can become final on neither side
        await net.until_linked(1, 1, 1, 1)  # what was on its way has long arrived
        events = [peer.events for peer in net.peers]
        await net.hold(OUTAGE_S)
        assert [peer.events for peer in net.peers] == events, "something became final without a quorum"
        assert [peer.lines for peer in net.peers] == [4 * FEW] * 4
        net.hosts.wire.heal()
        begin = time.monotonic()
        await net.until_received(len(net.text))
        print(f"all is there {time.monotonic() - begin:.1f} s after two halves became one")
        await net.finish()


async def test_a_peer_behind_a_nat_dials_all_others(seed: int) -> None:
    async with running(seed=seed) as net:
        # Whoever comes last among the keys would be dialled by all others, could it be.
        await net.start(lambda order: net.hide(order[-1]), lines=FEW)
        await net.finish()


async def test_a_peer_that_moves_is_found_by_its_name(seed: int) -> None:
    names = [f"peer{host}.example" for host in range(PEERS)]
    async with running(seed=seed, names=names) as net:
        addresses = {name: net.hosts.address(host) for host, name in enumerate(names)}
        net.hosts.call(addresses)
        moved = 0

        def prepare(order: list[int]) -> None:
            nonlocal moved
            moved = order[-1]  # all others dial it, so all have to look its name up again

        await net.start(prepare, lines=FEW)
        net.hosts.move(moved, "10.213.7.7")
        net.hosts.call(addresses | {names[moved]: "10.213.7.7"})
        begin = time.monotonic()
        net.send(FEW, [moved])  # this can only arrive from its new address
        await net.until_received(5 * FEW)
        print(f"found at its new address after {time.monotonic() - begin:.1f} s")
        await net.until_linked(3, 3, 3, 3)
        await net.finish()
