"""Context managers that close themselves, and services that work in threads of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """`with` ends in `close`."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Service(Closing):
    """Works in threads of its own: none runs before `start`, and none after `close`.

    `with` starts and closes it. `close` may be called without `start`, and more than once.
    """

    @abstractmethod
    def start(self) -> None:
        """Start the threads; call it once."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # `with` calls __exit__ only after __enter__ has returned.
            self.close()
            raise
        return self
