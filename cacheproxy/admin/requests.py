"""What the command line asks of the daemon: one request a connection, tagged by its command."""

from __future__ import annotations

from typing import Annotated

import msgspec

IMAGES_MAX = 8192  # named in one request: more than one command line of xargs holds
TOKEN_CHARACTERS_MAX = 16_384

# Printable, so that a name can neither forge a line of a log nor a header field.
ImageId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]
Images = Annotated[list[ImageId], msgspec.Meta(max_length=IMAGES_MAX)]
Token = Annotated[str, msgspec.Meta(pattern=f"^[!-~]{{1,{TOKEN_CHARACTERS_MAX}}}\\Z")]


class Request(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="command",
    tag=str.lower,
    forbid_unknown_fields=True,
):
    """The base of all; the tag is the class's name in lower case."""

    @property
    def subject(self) -> str:
        """What it is about, for a log."""
        return ""


class OneImage(Request, frozen=True, kw_only=True):
    """A request about one image."""

    image: ImageId

    @property
    def subject(self) -> str:
        """The image."""
        return self.image


class SomeImages(Request, frozen=True, kw_only=True):
    """A request about any number of images."""

    images: Images

    @property
    def subject(self) -> str:
        """The images."""
        return " ".join(self.images)


class Status(Request, frozen=True, kw_only=True):
    """How is the daemon?"""


class List(Request, frozen=True, kw_only=True):
    """Which images are known?  Answered with rows before the result."""


class Show(OneImage, frozen=True, kw_only=True):
    """What is known of an image?"""


class Pin(OneImage, frozen=True, kw_only=True):
    """Keep an image's chunks, whatever is evicted."""


class Unpin(OneImage, frozen=True, kw_only=True):
    """Let an image's chunks be evicted like others."""


class Evict(SomeImages, frozen=True, kw_only=True):
    """Drop images' chunks; with `content` those too that other images share."""

    content: bool = False


class Prefetch(SomeImages, frozen=True, kw_only=True):
    """Bring images in, with this token's right; without `wait` the answer comes at once."""

    token: Token | None = None
    wait: bool = True

    def __repr__(self) -> str:
        return f"Prefetch(images={self.images!r}, wait={self.wait!r})"  # never the token


class Verify(SomeImages, frozen=True, kw_only=True):
    """Read and hash the chunks of images, or of the whole cache where none is named."""


class Purge(Request, frozen=True, kw_only=True):
    """Believe no more who may download an image, or any: the upstream is asked again."""

    image: ImageId | None = None

    @property
    def subject(self) -> str:
        """The image."""
        return self.image or "all images"


class Gc(Request, frozen=True, kw_only=True):
    """Remove what nobody needs."""


AnyRequest = Status | List | Show | Pin | Unpin | Evict | Prefetch | Verify | Purge | Gc
CHANGING = (Pin, Unpin, Evict, Prefetch, Verify, Purge, Gc)
