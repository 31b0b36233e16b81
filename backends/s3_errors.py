"""What S3 and the layers below it raise, in measurefs' own family of errors: the one place that maps them."""

from __future__ import annotations

import errno
import http.client

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from measurefs.fs import (
    DeleteError,
    ExistError,
    FileSystemError,
    NotExistError,
    OpenError,
    PermissionError_,
    ReadError,
    WriteError,
)


class TruncatedError(Exception):
    """Fewer bytes arrived than the answer had announced."""


class UnfinishedError(Exception):
    """Some keys of a bulk delete were refused for a reason that passes."""


# Refused or damaged on the way: the same request, sent again, may well succeed, whatever its HTTP status.
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_PASSING = (
    TruncatedError,
    UnfinishedError,
    aiohttp.ClientError,
    boto.ConnectionError,
    boto.FlexibleChecksumError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    ConnectionError,
    http.client.HTTPException,
    ResponseParserError,
    TimeoutError,
)
_NO_ACCESS = (
    boto.CredentialRetrievalError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.TokenRetrievalError,
)
_OTHERWISE: dict[str, type[FileSystemError]] = {
    "create_file": WriteError,
    "delete_file": DeleteError,
    "delete_files": DeleteError,
    "must_rm_all": DeleteError,
    "open_file": OpenError,
    "read": ReadError,
    "read_dir": ReadError,
    "read_ranges": ReadError,
    "read_tree": ReadError,
    "write": WriteError,
    "write_all": WriteError,
}


def origin(error: BaseException) -> BaseException:
    """Return the error that s3fs or this module translated, or the error itself."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, boto.ClientError | boto.BotoCoreError | aiohttp.ClientError):
            return found
        found = found.__cause__
    return error


def answer(error: BaseException) -> tuple[int, str]:
    """Return the HTTP status and the S3 code that the store answered; ``(0, "")`` where it did not answer."""
    cause = origin(error)
    if not isinstance(cause, boto.ClientError):
        return 0, ""
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(cause.response.get("Error", {}).get("Code", ""))


def passing(error: BaseException) -> bool:
    """Tell whether the same request may succeed a little later.

    409 (a competing request was in flight) is no verdict and passes; 403, 404 and 412 are verdicts.
    """
    cause = origin(error)
    if isinstance(cause, boto.ClientError):
        return passing_answer(*answer(cause))
    return isinstance(cause, _PASSING) and "CERTIFICATE_VERIFY_FAILED" not in str(cause)


def passing_answer(status: int, code: str) -> bool:
    """Tell whether an answer means: later, perhaps."""
    return code in _PASSING_CODES or status in {408, 409, 429} or (status >= 500 and status != 501)


def retry_after(error: BaseException | None) -> float:
    """Return for how many seconds the store asked to be left alone; 0 where it did not."""
    cause = error and origin(error)
    if not isinstance(cause, boto.ClientError):
        return 0.0
    headers = cause.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except ValueError:
        return 0.0  # the other form, a date by a clock that need not be ours


def not_implemented(error: BaseException) -> bool:
    """Tell whether the store answered that it does not know this kind of request at all."""
    status, code = answer(error)
    return status in {405, 501} or code in {"NotImplemented", "MethodNotAllowed"}


def translate(error: BaseException, operation: str, path: str, effort: str = "") -> FileSystemError:
    """Return the error of our family for anything that a request raised.

    Parameters
    ----------
    error : BaseException
        What was caught; the caller raises the result from its `origin`.
    operation, path : str
        What was being done, and to which path.
    effort : str
        How often and for how long it was tried, for failures that outlived every retry.
    """
    kind, reason, number = _explain(origin(error), operation)
    if effort and passing(error):
        reason, number = f"gave up after {effort}; last {reason}", errno.ETIMEDOUT
    return kind(operation, path, reason, number)


def _explain(cause: BaseException, operation: str) -> tuple[type[FileSystemError], str, int | None]:
    kind = _OTHERWISE.get(operation, FileSystemError)
    if isinstance(cause, _NO_ACCESS):
        return PermissionError_, f"no usable credentials ({cause}); pass key and secret, or a profile", None
    if not isinstance(cause, boto.ClientError):
        return kind, f"{type(cause).__name__}: {cause}", None
    status, code = answer(cause)
    if status in {401, 403}:
        return PermissionError_, f"{_said(cause)}; check the credentials and the bucket's policy", None
    verdicts: dict[int | str, tuple[type[FileSystemError], str]] = {
        "NoSuchBucket": (NotExistError, "the bucket does not exist; create it first"),
        404: (NotExistError, "there is no such object"),
        412: (ExistError, "it is there already"),
    }
    return *(verdicts.get(code) or verdicts.get(status) or (kind, _said(cause))), None


def _said(cause: boto.ClientError) -> str:
    status, code = answer(cause)
    message = cause.response.get("Error", {}).get("Message", "")
    return f"the store answered {status} {code}: {message}".rstrip(": ")
