"""What holds something that must be given up (a file, a session, a process) closes with its block.

>>> class Door(Closing):
...     def close(self) -> None:
...         print("closed")
>>> with Door():
...     pass
closed
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """A context manager that closes itself at the end of its block, whatever ended that."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Give up what is held; a second close does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
