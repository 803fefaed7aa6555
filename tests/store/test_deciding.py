"""Peers in processes of their own decide under load, and all of them see the same (S1, S2, S4, C1, C4, J2)."""

from __future__ import annotations

from pathlib import Path

from syncpoint import SyncPointKind

from .deciding import Processes

PROPOSABLE = (SyncPointKind.SESSION, SyncPointKind.SNAPSHOT, SyncPointKind.EPOCH, SyncPointKind.CUSTOM)  # and END


async def test_every_kind_is_one_on_all_peers(core: str, tmp_path: Path, seed: int) -> None:
    async with Processes(tmp_path, core, seed) as net:
        for kind in net.rng.sample(PROPOSABLE, len(PROPOSABLE)):
            await net.decide(net.peers, kind)
        await net.decide(net.peers, *PROPOSABLE)
        await net.finish(net.peers)
        assert len(net.points) == 2 * len(PROPOSABLE) + 1


async def test_one_that_is_killed_in_the_middle_has_the_same_stream_in_the_end(
    core: str, tmp_path: Path, seed: int
) -> None:
    async with Processes(tmp_path, core, seed) as net:
        first, *rest = net.rng.sample(PROPOSABLE, len(PROPOSABLE))
        await net.decide(net.peers, first)
        victim = net.rng.choice(net.peers)
        others = [peer for peer in net.peers if peer is not victim]
        await net.kill(victim)
        for kind in rest:
            (point,) = await net.decide(others, kind)
            assert {str(key) for key in point.approvals} == {peer.public for peer in others}
        await net.decide(others, *PROPOSABLE)
        await net.spawn(victim)
        await net.decide(net.peers, *PROPOSABLE)  # it has all that it missed, and sends and proposes as the others do
        await net.finish(net.peers)
        assert len(net.points) == 3 * len(PROPOSABLE) + 1


async def test_one_that_computes_other_things_is_told_and_the_others_go_on(
    core: str, tmp_path: Path, seed: int
) -> None:
    async with Processes(tmp_path, core, seed) as net:
        await net.decide(net.peers, SyncPointKind.SNAPSHOT)
        assert len({tuple(peer.states.items()) for peer in net.peers}) == 1
        wrong = net.rng.choice(net.peers)
        others = [peer for peer in net.peers if peer is not wrong]
        wrong.tell("err")
        (point,) = await net.decide(net.peers, SyncPointKind.SNAPSHOT)
        await net.until(lambda: wrong.diverged is not None)
        ours, theirs = wrong.states[point.index], others[0].states[point.index]
        assert ours != theirs
        assert wrong.diverged == (point.index, ours, theirs, True)
        await net.decide(others, *PROPOSABLE)
        await net.finish(others)
        assert not wrong.has_end
        assert all(peer.diverged is None for peer in others)
