"""What S3 servers answer, and what befalls botocore on the way, as the store's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import MappingProxyType

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)

from backends.answers import kind_of
from backends.errors import (
    DeniedError,
    DuplicateError,
    InvalidError,
    MissingError,
    NoSpaceError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)

_Kinds = MappingProxyType[str, type[StoreError]]

# Amazon's list, and what Swift, radosgw and MinIO add; a status says the rest.
_CODES: _Kinds = MappingProxyType(
    {
        **dict.fromkeys(
            ("NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion"), MissingError
        ),
        **dict.fromkeys(
            (
                *("SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException"),
                *("RequestLimitExceeded", "RequestThrottled", "TooManyRequests"),
                *("BandwidthLimitExceeded", "TooManyRequestsException"),
            ),
            ThrottledError,
        ),
        **dict.fromkeys(
            (
                *("QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "StorageFull"),
                *("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"),
            ),
            NoSpaceError,
        ),
        **dict.fromkeys(
            (
                *("RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
                *("InternalError", "ServiceUnavailable", "IncompleteBody"),
            ),
            UnavailableError,
        ),
        **dict.fromkeys(
            (
                *("ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed"),
                *("BucketAlreadyExists", "InvalidObjectState", "PermanentRedirect"),
            ),
            DeniedError,
        ),
        "PreconditionFailed": DuplicateError,
        "NotImplemented": UnsupportedError,
    }
)
_STATUSES: dict[int, type[StoreError]] = {HTTPStatus.PRECONDITION_FAILED: DuplicateError}


@contextmanager
def translated(what: object) -> Iterator[None]:
    """Turn botocore's errors, and the network's, into the store's, about `what`."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise refusal(what, status, code_of(error)) from None
    except ParamValidationError:
        raise InvalidError(f"{what}: no S3 server takes such names") from None
    except (BotoCoreError, OSError) as error:  # OSError: with TimeoutError
        raise UnavailableError(f"{what}: {_reason(error)}") from None


def code_of(error: ClientError) -> str:
    """Return the server's own name of an error; of an answer without a body, its status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refusal(what: object, status: int, code: str) -> StoreError:
    """Return the error for a status that is no success, and the server's name for it, if any."""
    kind = _CODES.get(code) or kind_of(status, _STATUSES)
    shown = f" {code}" if code.isalnum() and code != str(status) else ""
    return kind(f"{what}: the server answers {status}{shown}")


def _reason(error: Exception) -> str:
    """Say it in our words: botocore's have addresses and parameters."""
    match error:
        case ConnectTimeoutError() | ReadTimeoutError() | TimeoutError():
            return "no answer in time"
        case SSLError():
            return "no trusted TLS connection"
        case EndpointConnectionError():
            return "nobody answers there"
        case HTTPClientError():
            return "the answer was cut, or is no HTTP"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return type(error).__name__
