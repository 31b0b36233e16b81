"""Arrow's functions of arrays by name, each made ready when it is first asked for.

`pyarrow.compute` has them as well, and writes a signature and documentation for all 300 whenever a process imports
it: as long as NumPy's core takes, and none of it is needed to answer a question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import _compute
from pyarrow._compute import Expression

__all__ = ["Expression"]


def __getattr__(name: str) -> Callable[..., Any]:
    try:
        function = _compute.get_function(name.removesuffix("_"))  # that of and_ is no keyword
    except pa.ArrowKeyError as error:
        raise AttributeError(f"Arrow has no function {name!r}") from error
    call = globals()[name] = _callable(function)
    return call


def _callable(function: _compute.Function) -> Callable[..., Any]:
    """Return what takes the columns, and after them or by name the options."""
    columns = None if function.arity is Ellipsis else function.arity
    options = getattr(_compute, function._doc.options_class or "FunctionOptions")

    def call(*arguments: Any, **named: Any) -> Any:
        settings = () if columns is None else arguments[columns:]
        chosen = options(*settings, **named) if settings or named else None
        return function.call(arguments[:columns], chosen)

    return call
