"""What a store file says of itself as a whole: whose it is, where its rows begin and end, which epochs began."""

from __future__ import annotations

from ..core.journal import EpochStart
from ..errors import CorruptError, StorageError
from .epochs import read_epochs
from .proposals import Proposals
from .reload import MOVE_AWAY
from .rows import PROPOSALS, STATE, Identity, MetaRow, State, StoreFile

__all__ = ["read_meta"]


def read_meta(
    file: StoreFile, meta: dict[str, MetaRow], identity: Identity | None = None
) -> tuple[State, Proposals, list[EpochStart]]:
    """Where the rows of a file begin and end, the state of proposals and votes, and how epochs began.

    Raises StorageError when it belongs to another network or key.
    """
    wanted = [row.name for row in identity.rows()] if identity is not None else []
    for name in (STATE, PROPOSALS, *wanted):
        if name not in meta or not meta[name].is_intact:
            raise CorruptError(f"{file.name} is damaged (its {name} is not what was written); {MOVE_AWAY}")
    if identity is not None:
        _check_identity(file, {name: row.value for name, row in meta.items()}, identity)
    state, proposals = State.read(meta[STATE].value), Proposals.read(meta[PROPOSALS].value)
    if state is None or proposals is None:
        raise CorruptError(f"{file.name} is damaged (its state contradicts itself); {MOVE_AWAY}")
    starts = read_epochs(meta, state.epochs)
    if isinstance(starts, str):
        raise CorruptError(f"{file.name} is damaged (its {starts} is not what was written); {MOVE_AWAY}")
    return state, proposals, starts


def _check_identity(file: StoreFile, values: dict[str, bytes], identity: Identity) -> None:
    advice = "give another folder, or move it away"
    if values["public"] != identity.public:
        raise StorageError(f"{file.name} belongs to another key, {values['public'].hex()}: {advice}")
    if values["network_id"] != identity.network_id:
        try:
            name = Identity.read(values).network.name
        except (KeyError, ValueError, TypeError):
            name = "?"
        raise StorageError(
            f"{file.name} belongs to another network, {name!r} with id {values['network_id'].hex()[:16]}..., "
            f"and this is {identity.network.name!r} with id {identity.network_id.hex()[:16]}...: {advice}"
        )
