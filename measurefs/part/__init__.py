"""One immutable part: rows in columns, sorted by (series, time), in memory or in files."""
