"""The ``measurefs`` command.

A command is one module of this package that has a click command called ``command``; its name is the module's.
Modules that begin with an underscore are what commands are made of. Commands import what is slow to import when
they run, so that ``measurefs --help`` does not wait for it.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from measurefs.cli.common import OneLineErrors


class _Commands(OneLineErrors):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [name for name in _modules() if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name."""
        del ctx
        if cmd_name not in _modules():
            return None
        found = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), "command", None)
        return found if isinstance(found, click.Command) else None


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - it takes longer than all the rest of --help

        click.echo(f"measurefs {version('measurefs')}")
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: measurefs demo",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def main() -> None:
    """Keep time series in files: on a local disk or in an object store.

    A URL is a directory (./metrics), s3://bucket/prefix, or any other that fsspec serves. The exit status is 0 if
    all went well, 1 if something failed while running, and 2 if what was asked for or given is wrong.
    """
