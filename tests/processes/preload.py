"""What the processes of these tests need, loaded once: each of them is forked from a process that has it.

No thread may be started here, and no connection made: they would not come along.
"""

from __future__ import annotations

import contextlib

import pandas  # noqa: F401
import pyarrow.compute  # noqa: F401

import measurefs.cli
import measurefs.database.repair
import measurefs.query.reduce
import measurefs.table
import tests.crash.journal
import tests.table.tables  # noqa: F401
from measurefs.fs import open_url
from tests.s3_server import _session

open_url("memory://").close()  # which looks for the backends that are installed

with contextlib.suppress(ImportError):
    import s3fs  # noqa: F401

    import measurefs.backends.s3  # noqa: F401

    loader = _session().get_component("data_loader")
    loader.load_service_model("s3", "service-2")
    loader.load_service_model("s3", "endpoint-rule-set-1")
    loader.load_data("endpoints")
    loader.load_data("partitions")
