"""A database: measures, their schemas, and their tables by segment and shard."""

from measurefs.database.database import Database, open
from measurefs.database.measure import Measure
from measurefs.database.schema import MeasureSchema

__all__ = ["Database", "Measure", "MeasureSchema", "open"]
