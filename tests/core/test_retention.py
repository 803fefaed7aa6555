"""What lies below the retained rounds is neither kept, nor taken again, nor served (F4)."""

from __future__ import annotations

import pytest

from core.virtual import MS, Cluster
from syncpoint.core import wire
from syncpoint.core.config import Local, Network
from syncpoint.core.error import Reject
from syncpoint.core.input import Received
from syncpoint.core.output import Rejected, Send
from syncpoint.core.wire import FrameType

pytestmark = pytest.mark.usefixtures("machines")


def test_events_below_the_retained_rounds_are_refused_and_not_served() -> None:
    cluster = Cluster(4, network=Network(gc_depth=5), local=Local(retain_events=100))
    assert cluster.machines[0].status().floor_round == 0
    for number in range(200):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(3 * MS)
    cluster.run_until(lambda: cluster.all_have(200))
    machine = cluster.machines[0]
    old = next(frame for _, i, _, frame in cluster.frames if i == 1 and frame[0] == FrameType.EVENT)
    before = machine.digest()
    outputs = machine.step(cluster.now, [Received(1, (old,))])
    assert Rejected(1, Reject.TOO_OLD) in outputs
    assert machine.digest() == before

    pull = wire.encode_frontier(FrameType.PULL, (0, 0, 0, 0))
    served = []
    for output in machine.step(cluster.now, [Received(1, (pull,))]):
        if isinstance(output, Send) and output.frame[0] == FrameType.EVENT:
            event = wire.decode_event(output.frame, machine.committee.epoch_id, cluster.network)
            assert not isinstance(event, Reject)
            served.append(event.round)
    status = machine.status()
    floor = status.closed_round - 100 // 4
    assert served
    assert min(served) > floor - 2
    assert served == sorted(served)
    assert floor - 2 < status.floor_round < min(served)
