"""Custom properties that an import brings along: whose they are, and whether the image may have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from registry.domain.fields import RESERVED_PREFIX
from registry.domain.identity import Identity
from registry.domain.image import Image
from registry.domain.limits import Limits
from registry.domain.protection import require_use


@dataclass(frozen=True, slots=True)
class Brought:
    """What another catalog says of an image, as if its caller set it; and what the operator adds.

    Property protections hold the caller, and nobody else; the quota of properties holds both.
    """

    caller: Identity | None = None
    remote: Mapping[str, str] = field(default_factory=dict)
    injected: Mapping[str, str] = field(default_factory=dict)

    def upon(self, image: Image, limits: Limits) -> Image:
        """Return the image with them.

        `ForbiddenError` for a property that the caller may not set, `LimitExceededError` for too
        many.
        """
        if self.caller is not None:
            for name in self.remote:
                is_known = name in image.properties and self.caller.may_use("read", name)
                require_use(self.caller, "update" if is_known else "create", [name])
        properties = {**image.properties, **self.remote, **self.injected}
        if properties.keys() - image.properties.keys():
            own = [name for name in properties if not name.startswith(RESERVED_PREFIX)]
            limits.require_properties(len(own))
        return replace(image, properties=properties)
