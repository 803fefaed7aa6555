"""What an engine is made of, from what an application gives."""

from __future__ import annotations

from dataclasses import dataclass

from .context import Context
from .core.committee import Committee
from .core.config import Local, MachineConfig, Member, Network
from .errors import ArgumentError, ArgumentTypeError
from .keys import KeySecret
from .membership import Membership
from .options import Options
from .peers import Peers
from .runtime.rows import Identity
from .socket import Socket
from .stream import check_resume

__all__ = ["Given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The arguments of `Engine.start`, which says what they mean."""

    context: Context
    socket: Socket
    options: Options
    secret: KeySecret
    peers: Peers
    joining_running_session: bool
    network: Network
    resume_after: int | None
    joins: bool
    next_secret: KeySecret | None

    def check(self) -> None:
        """Raise ArgumentError, ArgumentTypeError or ContextError where an argument is none."""
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and not (value is None and name == "next_secret"):
                # The value is not shown: it may be a secret in the wrong place.
                raise ArgumentTypeError(f"Engine.start: {name} is a {type(value).__name__}: give a {kind.__name__}")
        self.context._check()
        check_resume(self.resume_after, self.context._world.stores)
        public = self.secret.public()
        if public not in self.peers and not self.joins:
            raise ArgumentError(
                f"our own key {public} is not among the {len(self.peers)} peers: every peer is, so add "
                "peers.insert(our address, secret.public()); or joins=True, to be let in by Engine.vote_add_node"
            )

    def committee(self) -> Committee:
        """The first committee; ArgumentError where there can be none."""
        try:
            return Committee.genesis(self.network, self.members(), self.context._world.signatures)
        except ValueError as error:
            raise ArgumentError(
                f"Engine.start: {error}; set Network(f=...) lower, leave it out, or have more peers that order"
            ) from error

    def members(self) -> tuple[Member, ...]:
        """The first members."""
        return tuple(Member(bytes(peer.public), peer.capabilities.flags) for peer in self.peers)

    def membership(self, network_id: bytes) -> Membership:
        """Who is a member, and who we are among them."""
        secrets = (self.secret,) if self.next_secret is None else (self.secret, self.next_secret)
        return Membership(self.network, network_id, self.peers, secrets, joins=self.joins)

    def config(self) -> MachineConfig:
        """What the machine is told."""
        world, options = self.context._world, self.options
        return MachineConfig(
            network=self.network,
            members=self.members(),
            seed=self.secret._seed,
            entropy=world.entropy(),
            local=Local(
                min_event_interval_ns=options.base_min_event_interval_us * 1000,
                heartbeat_ns=options.heartbeat_us * 1000,
                verify_threads=options.max_blocking_verify_threads or world.threads,
                stores=world.stores,
            ),
            joins=self.joins,
            next_seed=None if self.next_secret is None else self.next_secret._seed,
            signatures=world.signatures,
        )

    def identity(self, network_id: bytes) -> Identity:
        """Whose store it is: that of the network and of the key that we begin with."""
        public = bytes(self.secret.public())
        return Identity(network_id=network_id, public=public, network=self.network, members=self.members())


_KINDS: dict[str, type] = {
    "context": Context,
    "socket": Socket,
    "options": Options,
    "secret": KeySecret,
    "peers": Peers,
    "joining_running_session": bool,
    "network": Network,
    "joins": bool,
    "next_secret": KeySecret,
}
