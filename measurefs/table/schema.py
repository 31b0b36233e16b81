"""What the rows of a table look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa

from measurefs.codec.types import ColumnType
from measurefs.part.metadata import Column


class TableSchema(msgspec.Struct, frozen=True):
    """What a table's rows look like.

    Attributes
    ----------
    entity : dict
        The entity columns and their types.
    columns : list of Column
        Tags and fields.
    """

    entity: Mapping[str, ColumnType]
    columns: Sequence[Column]

    def arrow_types(self) -> dict[str, pa.DataType]:
        """Return the Arrow types of the tags and fields."""
        return {column.name: column.type.arrow for column in self.columns}
