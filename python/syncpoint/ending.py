"""Why an engine takes nothing more from its application."""

from __future__ import annotations

from .errors import DivergenceError, EngineStopped

__all__ = ["Ending"]


class Ending:
    """What has ended an engine, or its part in the network, if anything has; the first of several reasons counts."""

    def __init__(self) -> None:
        self.error: BaseException | None = None  # the engine failed
        self.is_stopped = False
        self.halted: str | None = None  # the machine makes no more events, and why
        self.is_removed = False  # halted, as a sync point has removed this peer (S6)
        self.session_end: int | None = None  # the index behind which nothing is delivered any more (S4)

    @property
    def is_running(self) -> bool:
        """Whether what is sent now can still become final."""
        return not self.is_stopped and self.halted is None and self.session_end is None

    def require_running(self, takes_no: str) -> None:
        """Raise EngineStopped if nothing more can become final; `takes_no` is what was given, in the plural."""
        if not self.is_running:
            if self.is_stopped:
                advice = "start another one"
            elif self.session_end is not None:
                advice = "stop it; to go on, start a network of another name"
            elif self.is_removed:
                advice = "stop it; when the others let it in again, start it with joins=True"
            else:
                advice = "stop it, and start one with a new key"
            raise self.exception(f"and takes no more {takes_no}: {advice}")

    def exception(self, when: str) -> EngineStopped:
        """What to raise at whoever asks for something, or waits for it."""
        if isinstance(self.error, DivergenceError):
            error: EngineStopped = DivergenceError(*self.error.args)
        else:
            error = EngineStopped(f"{self._what()} {when}")
        error.__cause__ = self.error
        return error

    def _what(self) -> str:
        if self.error is not None:
            return f"the engine failed ({self.error})"
        if self.is_stopped:
            return "the engine was stopped"
        if self.session_end is not None:
            return f"the session ended with index {self.session_end}"
        return f"this peer has halted ({self.halted})"
