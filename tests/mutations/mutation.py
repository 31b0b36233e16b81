"""One mutation: a protection taken away on purpose, and the test that must notice."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one place in one file.

    Attributes
    ----------
    name : str
    protects : str
        What nobody would watch over if no test failed.
    file : str
        As in the repository.
    old : str
        What is replaced; it occurs exactly once.
    new : str
    test : str
        What must fail, as a pytest node id.
    """

    name: str
    protects: str
    file: str
    old: str
    new: str
    test: str

    @property
    def installed(self) -> str:
        """The file's path where the package is installed whole."""
        return f"measurefs/{self.file}" if self.file.startswith("backends/") else self.file

    @property
    def module(self) -> str:
        """The module that the file is."""
        return self.installed.removesuffix(".py").replace("/", ".")

    def fault(self, text: str) -> str | None:
        """Return why it cannot be applied to the file's text, None if it can."""
        times = text.count(self.old)
        if times != 1:
            return f"{self.name}: its text occurs {times} times in {self.file}"
        if self.old == self.new:
            return f"{self.name}: it changes nothing"
        return None
