"""One end of TLS on one connection, without any IO: bytes of the wire in, what they say out, and the other way round.

asyncio has the same between a socket and its protocol, for any use there is; a link reads, decrypts and looks at
frames in one go, which takes less than half of that and keeps no buffers (docs/decisions/0012-tls-in-the-link.md).
"""

from __future__ import annotations

import contextlib
import ssl

from .certificate import key_of

__all__ = ["Session"]

MAX_RECORD_BYTES = 16 * 1024  # TLS has no longer ones


class Session:
    """A TLS connection that is spoken by whoever holds it.

    What `words`, `seal` and `farewell` return has to be sent, in that order.
    """

    established = False
    """Whether the handshake is over; a client believes so before the other side has looked at its certificate."""

    ended = False
    """Whether the other side has said that nothing more comes."""

    key: bytes | None = None
    """Whose key the other end has shown to hold, 32 bytes; None before, and when its certificate is not ours.

    TLS checks that the certificate was signed by a trusted key and that the other end holds the key in it. That both
    are one key, and that nothing else stands in it, is checked here: so a member's certificate for somebody else is
    worth nothing.
    """

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        """`server` is the side that was called."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # No name in the clear: the key is what counts.
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)

    def take(self, data: bytes | memoryview) -> bytes:
        """What the other side says with bytes from the wire, as far as they are whole; ssl.SSLError for bad ones.

        A client begins with none at all. After an error only `words` may be asked for.
        """
        self._incoming.write(data)
        said: list[bytes] = []
        try:
            if not self.established:
                self._tls.do_handshake()
                certificate = self._tls.getpeercert(binary_form=True)
                self.key = None if certificate is None else key_of(certificate)
                self.established = True
            while self._incoming.pending and not self.ended:
                said.append(self._tls.read(MAX_RECORD_BYTES))
                self.ended = not said[-1]
        except ssl.SSLWantReadError:  # the rest is the beginning of a record
            pass
        return b"".join(said)

    def words(self) -> bytes:
        """What TLS itself has to say: its handshake, its answers, why it gave up; mostly nothing."""
        return self._outgoing.read()

    def seal(self, data: bytes) -> bytes:
        """The bytes of the wire that say `data`; only once it is established, and before `farewell`."""
        parts, whole = [], memoryview(data)
        for at in range(0, len(whole), MAX_RECORD_BYTES):  # more at once would stay with OpenSSL as an empty buffer
            self._tls.write(whole[at : at + MAX_RECORD_BYTES])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def farewell(self) -> bytes:
        """Tell the other side that nothing more comes; nothing while there is no handshake."""
        if self.established:
            with contextlib.suppress(ssl.SSLError):  # it has not said so itself
                self._tls.unwrap()
        return self._outgoing.read()
