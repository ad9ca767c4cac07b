"""Who may do what with an image.  Pure: the rules are the caller's, `Identity.rules`.

An image that a caller may not see does not exist for them: NotFoundError, never ForbiddenError.
There are two questions, in Glance's order: whether the image is *visible* (by its owner, visibility
and members), then what a rule says of the call.  Who is refused by a rule, and by `get_image` too,
does not learn that there is such an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.domain.errors import ForbiddenError, NotFoundError
from registry.domain.identity import SERVICE_ROLE, Identity
from registry.domain.image import Image, ImageLocation, Visibility
from registry.domain.status import Status
from registry.domain.targets import ImageTarget, proposed_target


def owns(identity: Identity, image: Image) -> bool:
    """Tell whether the image belongs to the caller's project."""
    return identity.project_id is not None and identity.project_id == image.owner


def is_member(identity: Identity, image: Image) -> bool:
    """Tell whether the image is shared with the caller's project, whether it accepted or not."""
    return image.visibility is Visibility.SHARED and identity.project_id in image.members


def is_visible(identity: Identity, image: Image) -> bool:
    """Tell whether the image exists for this caller, whatever the rules say."""
    return (
        identity.is_admin
        or image.owner is None
        or image.visibility in {Visibility.PUBLIC, Visibility.COMMUNITY}
        or owns(identity, image)
        or is_member(identity, image)
    )


def may(identity: Identity, image: Image, rule: str) -> bool:
    """Tell what a rule says of this caller and this image."""
    return identity.may(rule, _target(identity, image))


def is_listed(identity: Identity, image: Image) -> bool:
    """Tell whether the caller may read the record of an image that a list has found."""
    return may(identity, image, "get_image")


def require_visible(identity: Identity, image: Image | None, image_id: str) -> Image:
    """Return the image if it exists for this caller; what may be done with it is another question."""
    if image is not None and is_visible(identity, image):
        return image
    raise _absent(image_id)


def require_shown(identity: Identity, image: Image | None, image_id: str) -> Image:
    """Return the image if the caller may read its record (rule get_image)."""
    image = require_visible(identity, image, image_id)
    if may(identity, image, "get_image"):
        return image
    raise _absent(image_id)


def require(identity: Identity, image: Image, rule: str, refusal: str) -> None:
    """Refuse whoever a rule refuses, in these words; who may not read the record gets no word."""
    if may(identity, image, rule):
        return
    if may(identity, image, "get_image"):
        raise ForbiddenError(refusal)
    raise _absent(image.id)


def require_change(identity: Identity, image: Image, rule: str = "modify_image") -> None:
    """Refuse whoever may see the image but not change it, upload to it or delete it."""
    refusal = f"You are not permitted to change image {image.id}."
    require(identity, image, rule, refusal)
    if identity.rules.owners_only and not (identity.is_admin or owns(identity, image)):
        raise ForbiddenError(refusal)


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
    require(identity, image, "download_image", f"You may not download image {image_id}.")
    return image


def told_locations(identity: Identity, image: Image) -> tuple[ImageLocation, ...]:
    """Return where the data of an image is, as far as this caller is told.

    Who may not download a deactivated image is not to read it in its store either.
    """
    hidden = image.status is Status.DEACTIVATED and not identity.is_admin
    return () if hidden else image.locations


def require_members(identity: Identity, image: Image, rule: str) -> None:
    """Refuse to tell of members (rules get_members and get_member)."""
    require_shown(identity, image, image.id)
    require(identity, image, rule, f"Not allowed to list members for image {image.id}.")


def require_sharing(identity: Identity, image: Image, rule: str) -> None:
    """Refuse to share an image, or not to (rules add_member and delete_member)."""
    require_shown(identity, image, image.id)
    require_change(identity, image, rule)


def require_answer(identity: Identity, image: Image) -> None:
    """Refuse to accept or reject an image (rule modify_member); its owner may not for another."""
    refusal = f"Not allowed to update members for image {image.id}."
    require_shown(identity, image, image.id)
    require(identity, image, "modify_member", refusal)
    if identity.rules.owners_only and owns(identity, image) and not identity.is_admin:
        raise ForbiddenError(refusal)


def require_preference(identity: Identity, image: Image) -> None:
    """Refuse to choose a store to whoever may only download (rule download_from_store)."""
    require(
        *(identity, image, "download_from_store"),
        f"You may not choose a store to download image {image.id} from.",
    )


def require_listing(identity: Identity) -> None:
    """Refuse the list of images (rule get_images)."""
    if not identity.may("get_images", {"project_id": identity.project_id}):
        raise ForbiddenError("You are not permitted to list images.")


def require_changes(identity: Identity) -> None:
    """Refuse the feed of changes, which names images of every project, to all but services."""
    if not (identity.is_admin or SERVICE_ROLE in identity.roles):
        raise ForbiddenError("The feed of changes is for services and administrators.")


def require_content_search(identity: Identity) -> None:
    """Refuse to find images of every project by their content (rule find_content, of ours)."""
    if not identity.may("find_content", {}):
        raise ForbiddenError("Finding images by their content is for administrators.")


def require_store_details(identity: Identity) -> None:
    """Refuse how stores are configured to all but services (rule stores_info_detail)."""
    if not identity.may("stores_info_detail", {}):
        raise ForbiddenError("How stores are configured is for services and administrators.")


def require_tasks(identity: Identity, rule: str) -> None:
    """Refuse the API of tasks (rule tasks_api_access, and that of the call)."""
    if not (identity.may("tasks_api_access", {}) and identity.may(rule, {})):
        raise ForbiddenError("You are not permitted to use the API of tasks.")


def require_copying(identity: Identity, image: Image) -> None:
    """Refuse to copy data to other stores (rule copy_image)."""
    require(identity, image, "copy_image", f"You are not permitted to copy image {image.id}.")


def require_location_removal(identity: Identity, image: Image) -> None:
    """Refuse to take data out of a store (rules get_image_location and delete_image_location)."""
    refusal = "You are not permitted to delete image data from a store."
    require(identity, image, "get_image_location", refusal)
    require(identity, image, "delete_image_location", refusal)


def require_creation(identity: Identity, owner: str | None, visibility: Visibility) -> None:
    """Refuse to make an image for another project, or one that more see than the caller may let."""
    target = proposed_target(owner, visibility)
    if identity.rules.owners_only:
        require_owner(identity, owner)
    if not identity.may("add_image", target):
        require_owner(identity, owner)  # says more, if that is why
        raise ForbiddenError("You are not permitted to create images.")
    _require_spread(identity, target, visibility)


def require_visibility(identity: Identity, image: Image, visibility: Visibility) -> None:
    """Refuse to let more see an image than the caller may (rules publicize_ and communitize_image)."""
    _require_spread(identity, _target(identity, image), visibility)


def require_owner(identity: Identity, owner: str | None) -> None:
    """Refuse to give an image to another project to all but administrators."""
    if not identity.is_admin and owner != identity.project_id:
        raise ForbiddenError(
            f"You are not permitted to create images owned by '{owner}', or to give one away."
        )


def _require_spread(identity: Identity, target: Mapping[str, Any], visibility: Visibility) -> None:
    rule = _VISIBILITY_RULES.get(visibility)
    if rule is not None and not identity.may(rule, target):
        raise ForbiddenError(_SPREAD[visibility])


def _target(identity: Identity, image: Image) -> ImageTarget:
    is_guest = image.visibility is Visibility.SHARED and not owns(identity, image)
    return ImageTarget(image, identity.project_id if is_guest else None)


_VISIBILITY_RULES = {
    Visibility.PUBLIC: "publicize_image",
    Visibility.COMMUNITY: "communitize_image",
}
_SPREAD = {
    Visibility.PUBLIC: "You are not authorized to make an image public.",
    Visibility.COMMUNITY: "You are not authorized to make an image a community image.",
}


def _absent(image_id: str) -> NotFoundError:
    return NotFoundError(f"No image found with ID {image_id}")
