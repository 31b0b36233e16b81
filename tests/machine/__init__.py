"""Random histories of a database on every kind of store, against a plain model; see `tests.machine.machine`."""
