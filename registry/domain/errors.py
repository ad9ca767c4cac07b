"""What can go wrong with a request, by what the caller can do about it.

    RegistryError
    ├── InvalidRequestError    the request makes no sense, or breaks a rule that never changes
    │   ├── SignatureError     the data is not what was signed, or nobody can tell
    │   └── UploadCutError     the client went away, or its body is broken, in the middle
    ├── UnauthenticatedError   nobody knows who calls
    ├── ForbiddenError         understood and refused: read-only, protected, reserved, not yours
    ├── NotFoundError          there is no such thing, or not for this caller
    ├── ConflictError          the state of the image does not allow it
    │   ├── TransitionError    … because of its status
    │   └── OffsetError        … because an upload goes on at another byte
    ├── GoneError              the image was deleted while its data was on the way
    ├── LimitExceededError     a quota or a size limit
    ├── MediaTypeError         a body of the wrong type
    ├── DataRefusedError       the data is not what the image is said to be, or is dangerous
    ├── NoDataError            an image without data; not a failure, but nothing to send
    └── UnavailableError       the database or a store does not answer now, another try may succeed
        └── LeaseLostError     others took this instance for dead, and took over what it was at

HTTP status codes for these live in `web/errors.py` only.
"""

from __future__ import annotations


class RegistryError(Exception):
    """Any failure that the catalog itself names; its text may be shown to the client."""


class InvalidRequestError(RegistryError):
    """The request makes no sense, or breaks a rule that never changes."""


class SignatureError(InvalidRequestError):
    """The data of a signed image is not what was signed, or nobody can tell."""

    def __init__(self, image_id: str, reason: str) -> None:
        super().__init__(f"Signature verification failed for image {image_id}: {reason}")


class UploadCutError(InvalidRequestError):
    """The body of an upload broke off, or its framing is broken."""


class UnauthenticatedError(RegistryError):
    """Nobody knows who calls; `challenge` says where tokens come from."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class ForbiddenError(RegistryError):
    """Understood and refused."""


class NotFoundError(RegistryError):
    """There is no such thing, or not for this caller."""


class ConflictError(RegistryError):
    """The state of the image does not allow it."""


class TransitionError(ConflictError):
    """The image's status does not allow it."""


class OffsetError(ConflictError):
    """An upload goes on at another byte, which is `expected`."""

    def __init__(self, message: str, expected: int) -> None:
        super().__init__(message)
        self.expected = expected


class GoneError(RegistryError):
    """The image was deleted while its data was on the way."""


class LimitExceededError(RegistryError):
    """A quota or a size limit."""


class MediaTypeError(RegistryError):
    """A body of the wrong type; `accepted` names the right ones."""

    def __init__(self, message: str, accepted: tuple[str, ...]) -> None:
        super().__init__(message)
        self.accepted = accepted


class DataRefusedError(RegistryError):
    """The data is not what the image is said to be, or is dangerous."""


class NoDataError(RegistryError):
    """The image has no data (yet, or no more)."""


class UnavailableError(RegistryError):
    """The database or a store does not answer now; another try may succeed."""


class LeaseLostError(UnavailableError):
    """Others took this instance for dead, and took over what it was at."""
