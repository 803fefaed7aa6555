"""Peers in processes of their own change members, a key and settings under load, and all see the same (S2, S4, S6)."""

from __future__ import annotations

from pathlib import Path

from syncpoint import SyncPointKind

from .changing import FIRST, Changing


async def test_every_kind_is_one_on_all_peers_whoever_they_are(core: str, tmp_path: Path, seed: int) -> None:
    async with Changing(tmp_path, core, seed) as net:
        first, joiner = net.peers[:FIRST], net.peers[FIRST]
        one, two, three, four = net.rng.sample(first, FIRST)
        keys = {peer.public for peer in first}
        added = await net.decide(one, f"add {joiner.number}", net.peers)
        custom = await net.decide(joiner, "propose CUSTOM from the newcomer", net.peers)
        rotated = await net.decide(two, "rotate", net.peers)
        configured = await net.decide(three, "configure fast", net.peers)
        session = await net.decide(two, "propose SESSION by another key", net.peers)
        rest = [peer for peer in net.peers if peer is not four]
        removed = await net.decide(joiner, f"remove {four.number}", rest)
        await net.until(lambda: four.has_end)
        assert four.received == removed.index + 1
        snapshot = await net.decide(three, "propose SNAPSHOT among those who stay", rest)
        await net.finish(rest, "over")
    kinds = [point.kind for point in net.points]
    assert kinds == [
        SyncPointKind.MEMBERSHIP,
        SyncPointKind.CUSTOM,
        SyncPointKind.KEY_ROTATION,
        SyncPointKind.CONFIG,
        SyncPointKind.SESSION,
        SyncPointKind.MEMBERSHIP,
        SyncPointKind.SNAPSHOT,
        SyncPointKind.END,
    ]
    ((old, new),) = rotated.rotated
    later = (keys | {joiner.public, str(new)}) - {str(old)}
    assert [str(key) for key in added.joined] == [joiner.public]
    assert str(old) == two.public
    assert [str(key) for key in removed.left] == [four.public]
    assert configured.network.order == "fast"
    assert str(custom.proposer) == joiner.public
    assert str(session.proposer) == str(new)
    assert {str(peer.public) for peer in snapshot.peers} == later - {four.public}
    for point, members, least in (
        (added, keys, 3),
        (custom, keys | {joiner.public}, 4),
        (rotated, keys | {joiner.public}, 4),
        (configured, later, 4),
        (session, later, 4),
        (removed, later, 4),
        (snapshot, later - {four.public}, 3),
    ):
        approvals = {str(key) for key in point.approvals}
        assert len(approvals) == len(point.approvals) >= least
        assert approvals <= members
