"""Whether the machine at the other end of a connection still answers, which TCP itself takes minutes to doubt.

Of a cable that is cut, or a machine without power, TCP hears nothing. It sends what is not acknowledged again after
waits that double, so a link that was dead for half a minute may stay so for as long after the cable is mended. Who
dials anew is through at once.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

__all__ = ["Pulse"]

SILENCE_S = 5.0  # without any answer though one is due: TCP's own next try would come in about as long again
LOOK_S = 1.0  # between two looks
KEEPALIVE_IDLE_S = 2  # after it, a connection without traffic is asked whether it is there ...
KEEPALIVE_INTERVAL_S = 1  # ... so often ...
KEEPALIVE_COUNT = 5  # ... and ends when so many questions in a row had no answer
_PROBES_ON_THE_WAY = 1  # one that has no answer yet means nothing

_INFO = struct.Struct("<2xBB52xI")  # of Linux' struct tcp_info: retransmits, probes, last_ack_recv; it only ever grows


class Pulse:
    """Looks at one TCP connection from time to time.

    The system's acknowledgements count, not what the peer says: a process that is busy, or that does not read for
    as long as its application does not, is there all the same. (`TCP_USER_TIMEOUT` ends the latter's links.)
    Where the system does not tell of them, which is all but Linux, its own patience has to do.
    """

    def __init__(self, sock: socket.socket, now: float) -> None:
        """`now` is in seconds, of any clock that goes evenly."""
        self._sock = sock
        self._since = now  # when it answered last, or owed us no answer
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # macOS has the first under another name.
        for names, value in (
            (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), KEEPALIVE_IDLE_S),
            (("TCP_KEEPINTVL",), KEEPALIVE_INTERVAL_S),
            (("TCP_KEEPCNT",), KEEPALIVE_COUNT),
        ):
            option = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def is_gone(self, now: float) -> bool:
        """Whether nothing was answered for `SILENCE_S`, although something should have been.

        To be asked every `LOOK_S` or so: what happened between two looks is not seen.
        """
        seen = _look(self._sock)
        is_due = seen is not None and (seen.retransmits > 0 or seen.probes > _PROBES_ON_THE_WAY)
        if seen is None or not is_due or seen.last_answer_s < now - self._since:
            self._since = now
        return now - self._since >= SILENCE_S


class _Seen(NamedTuple):
    """What the system says of a connection."""

    retransmits: int  # of the oldest bytes without an answer
    probes: int  # without an answer: whether it is there, whether it takes bytes again
    last_answer_s: float  # ago


def _look(sock: socket.socket) -> _Seen | None:
    """None where the system tells nothing."""
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:  # it is closed
        return None
    retransmits, probes, last_answer_ms = _INFO.unpack(info)
    return _Seen(retransmits, probes, last_answer_ms / 1000)
