"""What requests say about the members of an image, and which images may have any."""

from __future__ import annotations

from typing import Any

from registry.domain.errors import ForbiddenError, InvalidRequestError
from registry.domain.image import Image, Visibility
from registry.domain.limits import NAME_LENGTH_MAX
from registry.domain.member import MemberStatus
from registry.domain.validation import check_text


def require_shared(image: Image) -> None:
    """Refuse members to images whose visibility knows none."""
    if image.visibility is not Visibility.SHARED:
        raise ForbiddenError("Only shared images have members.")


def read_project(body: Any) -> str:
    """Return the project that a request to share names."""
    if not isinstance(body, dict):
        raise InvalidRequestError('Expected a member in the form: {"member": "image_id"}')
    if "member" not in body:
        raise InvalidRequestError("Member to be added not specified")
    project_id = body["member"]
    if not project_id:
        raise InvalidRequestError("Member can't be empty")
    if not isinstance(project_id, str) or len(project_id) > NAME_LENGTH_MAX:
        raise InvalidRequestError(f"A member is a text of 1 to {NAME_LENGTH_MAX} characters.")
    check_text(project_id)
    return project_id


def read_answer(body: Any) -> Any:
    """Return the status that a request names, which is still to be looked at: `read_status`."""
    if not isinstance(body, dict):
        raise InvalidRequestError('Expected a status in the form: {"status": "status"}')
    if "status" not in body:
        raise InvalidRequestError("Status not specified")
    return body["status"]


def read_status(value: Any) -> MemberStatus:
    """Return the status of that name."""
    try:
        return MemberStatus(value)
    except ValueError:
        raise InvalidRequestError(
            'Incorrect request: Status must be "pending", "accepted" or "rejected".'
        ) from None
