"""Who may do what with an image.  Pure; the policy file of a cloud with Keystone comes on top.

An image that a caller may not see does not exist for them: NotFoundError, never ForbiddenError.
"""

from __future__ import annotations

from registry.domain.errors import ForbiddenError, NotFoundError
from registry.domain.identity import Identity
from registry.domain.image import Image, Visibility
from registry.domain.status import Status

SERVICE_ROLE = "service"  # Keystone's, of the users that services act as


def owns(identity: Identity, image: Image) -> bool:
    """Tell whether the image belongs to the caller's project."""
    return identity.project_id is not None and identity.project_id == image.owner


def require_visible(identity: Identity, image: Image | None, image_id: str) -> Image:
    """Return the image if it exists for this caller."""
    if image is not None and (
        identity.is_admin
        or owns(identity, image)
        or image.visibility in {Visibility.PUBLIC, Visibility.COMMUNITY}
    ):
        return image
    raise NotFoundError(f"No image found with ID {image_id}")


def require_change(identity: Identity, image: Image) -> None:
    """Refuse whoever may see the image but not change it."""
    if not (identity.is_admin or owns(identity, image)):
        raise ForbiddenError(f"You are not permitted to change image {image.id}.")


def require_readable(identity: Identity, image: Image | None, image_id: str) -> Image:
    """Return the image if this caller may download its data (rule download_image).

    The one decision behind the data, its manifest and the question for the right: the data of a
    deactivated image is for administrators only.
    """
    image = require_visible(identity, image, image_id)
    if image.status is Status.DEACTIVATED and not identity.is_admin:
        raise ForbiddenError(
            "The requested image has been deactivated. Image data download is forbidden."
        )
    return image


def require_changes(identity: Identity) -> None:
    """Refuse the feed of changes, which names images of every project, to all but services."""
    if not (identity.is_admin or SERVICE_ROLE in identity.roles):
        raise ForbiddenError("The feed of changes is for services and administrators.")


def require_store_details(identity: Identity) -> None:
    """Refuse how stores are configured to all but services (rule stores_info_detail)."""
    if not (identity.is_admin or SERVICE_ROLE in identity.roles):
        raise ForbiddenError("How stores are configured is for services and administrators.")


def require_location_removal(identity: Identity) -> None:
    """Refuse to take data out of a store to all but administrators (rule delete_image_location)."""
    if not identity.is_admin:
        raise ForbiddenError("You are not permitted to delete image data from a store.")


def require_visibility(identity: Identity, visibility: Visibility) -> None:
    """Refuse to publish for everybody to all but administrators (rule publicize_image)."""
    if visibility is Visibility.PUBLIC and not identity.is_admin:
        raise ForbiddenError("You are not authorized to make an image public.")


def require_owner(identity: Identity, owner: str | None) -> None:
    """Refuse to give an image to another project to all but administrators."""
    if not identity.is_admin and owner != identity.project_id:
        raise ForbiddenError(
            f"You are not permitted to create images owned by '{owner}', or to give one away."
        )
