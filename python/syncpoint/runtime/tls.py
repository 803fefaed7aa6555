"""TLS 1.3 with both sides known by their identity keys (T1)."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator

from ..core.crypto import Signer
from .certificate import anchor_of, certificate_of, secret_der
from .session import Session

__all__ = ["Tls"]


class Tls:
    """Our certificate, and whose certificates we take: those of some keys, and no others.

    What is trusted can only grow in an `ssl.SSLContext`; when the keys change, make a new `Tls`. Its contexts are made
    when they are needed first: that costs milliseconds, and when keys change most links stay as they are.
    """

    def __init__(self, seed: bytes, keys: Iterable[bytes]) -> None:
        """`seed` is the 32 bytes of our secret key, `keys` the public ones of the other peers, 32 bytes each."""
        self._seed = seed
        self._keys = tuple(keys)

    @functools.cached_property
    def client(self) -> ssl.SSLContext:
        """For connections that we make."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    @functools.cached_property
    def server(self) -> ssl.SSLContext:
        """For connections that others make."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def session(self, *, server: bool) -> Session:
        """Our end of a new connection; `server` is the side that was called."""
        return Session(self.server if server else self.client, server=server)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False  # the key is the name
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # a resumed session would skip the check of its certificate
        chain = _pem("CERTIFICATE", certificate_of(Signer(self._seed)))
        secret = _pem("PRIVATE KEY", secret_der(self._seed))
        with _as_file(chain) as certificate, _as_file(secret) as key:
            context.load_cert_chain(certificate, key)
        if self._keys:
            context.load_verify_locations(cadata=b"".join(map(anchor_of, self._keys)))
        return context


def _pem(kind: str, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (kind.encode(), base64.encodebytes(der), kind.encode())


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path from which `content` can be read once: a secret need not touch the disk, where the system allows that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("syncpoint", os.MFD_CLOEXEC)
        os.write(descriptor, content)
        path = f"/proc/self/fd/{descriptor}"
    elif os.path.isdir("/dev/fd"):
        descriptor, writer = os.pipe()
        os.write(writer, content)  # far less than any pipe holds
        os.close(writer)
        path = f"/dev/fd/{descriptor}"
    else:  # Windows
        descriptor, path = tempfile.mkstemp()
        os.write(descriptor, content)
    try:
        yield path
    finally:
        os.close(descriptor)
        if not path.startswith(("/proc/", "/dev/")):
            os.unlink(path)
