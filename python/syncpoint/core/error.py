"""Why a peer's bytes are refused: numbered values, never exceptions.

The numbers are part of both cores' contract (law L2) and appear in `Status.rejects`.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Reject"]


class Reject(IntEnum):
    """The reason why a frame or an event of a peer was not taken."""

    # Frames and encodings: E4, T2.
    FRAME_EMPTY = 1  # a frame without a type byte
    FRAME_TYPE = 2  # a frame type that this version does not know
    TRUNCATED = 3  # the bytes end before the value does
    TRAILING = 4  # the value ends before the bytes do
    LIMIT = 5  # a length or a count above its limit

    # The event alone: V1, V2, V3, V6.
    VERSION = 10  # V1
    EPOCH = 11  # V1: another network, committee or epoch
    CREATOR = 12  # V1: not in the committee
    ROUND = 13  # round 0, or above 2^62
    SIGNATURE = 14  # V1
    NO_QUORUM = 15  # V2: fewer than q strong parents, or parents in round 1
    PARENT_ORDER = 16  # V3: two parents of one creator, or not in creator order
    PARENT_ROUND = 17  # V3: a parent that is not older, or older than gc_depth allows
    PAYLOAD = 18  # V6: payload does not match root or length

    # The event and its ancestors: V3, V4, V5, V8.
    PARENT_MISMATCH = 20  # a parent is not the event its reference says it is
    SELF_PARENT = 21  # V4
    TIME = 22  # V5: not after the self-parent, or above 2^62
    EXPOSED_AUTHOR = 23  # V8
    INVALID_ANCESTOR = 24  # an ancestor was refused for good

    # Not taken now, without being invalid: V7, F2, F4, R5.
    AHEAD = 30  # V7: too far above the highest round that we know
    POOL_FULL = 31  # V7: the sender's share of the pool of waiting events is used up
    TOO_OLD = 32  # F4: below the rounds that we retain
    EQUIVOCATION = 33  # F2: a second variant that no event refers to
    NOT_OURS = 34  # R5: signed with our key, but not by us
    BUSY = 35  # more asked for than a peer's byte budget allows (F1)
