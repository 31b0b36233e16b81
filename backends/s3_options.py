"""Storage options: what users may give, what they leave out, and what the backend puts in force."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import s3fs
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.session import Session

from measurefs.fs import UnsupportedStoreError

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# Options that would hand the connection to somebody else's event loop, or listings to a cache.
_OURS = {
    "asynchronous",
    "loop",
    "skip_instance_cache",
    "use_listings_cache",
    "listings_expiry_time",
    "max_paths",
}
_REGION = ("region", "region_name")
_MAPPINGS = ("client_kwargs", "config_kwargs", "s3_additional_kwargs")


def s3fs_options(
    url: str,
    options: Mapping[str, Any],
    *,
    max_concurrency: int,
    request_timeout: float,
    own: Collection[str] = (),
) -> dict[str, Any]:
    """Return what `s3fs.S3FileSystem` is made with.

    Parameters
    ----------
    url : str
        What is being opened, for errors.
    options : mapping
        The storage options that a user gave.
    max_concurrency : int
        How many connections are kept.
    request_timeout : float
        For how many seconds the store may be silent.
    own : collection of str
        The backend's own options, to suggest them.

    Raises
    ------
    UnsupportedStoreError
        One of them does not exist, or is not of the type that it must be.
    """
    chosen = {name: value for name, value in options.items() if name not in _OURS}
    known = {*_parameters(s3fs.S3FileSystem.__init__), *_parameters(AioSession.__init__), *_REGION, *own}
    regions = [chosen.pop(name) for name in _REGION if name in chosen]
    _check_names(url, "", [*chosen], known)
    for name in _MAPPINGS:
        if not isinstance(chosen.get(name) or {}, Mapping):
            raise _refusal(url, f"the storage option {name!r} must be a mapping, not {chosen[name]!r}")
        chosen[name] = dict(chosen.get(name) or {})
    if regions:
        chosen["client_kwargs"].setdefault("region_name", regions[0])
    _check_names(url, "client_kwargs", chosen["client_kwargs"], _parameters(Session.create_client))
    defaults: dict[str, Any] = {
        "connect_timeout": min(5.0, request_timeout),
        # The client's own limit sees to that. This one begins when the last byte of a body was handed to the
        # system, which may have megabytes of it still to send.
        "read_timeout": None,
        "max_pool_connections": max_concurrency,
    }
    if _custom_endpoint(chosen):
        # Checksums that S3 alone understands are rejected, or damage the body, at several look-alikes.
        defaults["request_checksum_calculation"] = "when_required"
        defaults["response_checksum_validation"] = "when_required"
    forced = {"retries": {"total_max_attempts": 1, "mode": "standard"}}
    chosen["config_kwargs"] = defaults | chosen["config_kwargs"] | forced
    try:
        AioConfig(**chosen["config_kwargs"])
    except Exception as error:
        raise _refusal(url, f"the storage option 'config_kwargs' is wrong: {error}") from error
    return chosen | {"skip_instance_cache": True, "use_listings_cache": False}


def _check_names(url: str, within: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        where = f" in {within!r}" if within else ""
        hint = f"did you mean {near[0]!r}?" if near else "s3fs takes no such option; leave it out"
        raise _refusal(url, f"there is no storage option {name!r}{where}: {hint}")


def _refusal(url: str, why: str) -> UnsupportedStoreError:
    return UnsupportedStoreError(f"cannot open {url!r}: {why}")


def _parameters(function: Callable[..., Any]) -> set[str]:
    """Return the names of a function's or constructor's parameters."""
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds} - {"self"}


def _custom_endpoint(options: Mapping[str, Any]) -> bool:
    given = options.get("endpoint_url") or options["client_kwargs"].get("endpoint_url")
    return bool(given) or any(os.environ.get(name) for name in _ENDPOINT_VARIABLES)
