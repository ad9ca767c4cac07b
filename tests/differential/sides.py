"""Two sides that are told the same stories, and the comparison of what they answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from differential.call import Call, Caller, Side
from differential.data import V21
from differential.differences import explained
from differential.drawing import IMAGES
from differential.stories import Story
from harness.http import Answer
from harness.images_api import ImagesApi

LEFT_OUT = (
    "os_manifest",  # published digests: the reason why a cloud runs this catalog
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEADERS = (
    *("content-type", "content-range", "content-md5", "accept-patch", "allow", "location"),
    "openstack-image-store-ids",
)


_ABSENT = "00000000-0000-0000-0000-0000000000ff"


@dataclass(slots=True)
class Sides:
    """Glance and the catalog, both empty between two stories.  The first caller may do anything."""

    glance: str
    ours: str
    callers: tuple[Caller, ...]
    web: str  # a server of `small.img` and `small.qcow2`
    stories: int = 0
    calls: int = 0
    explained: Counter[str] = field(default_factory=Counter)

    def tell(self, story: Story) -> None:
        """Tell both a story; AssertionError says where their answers part."""
        self.stories += 1
        # Chosen by the caller, as the API allows: so orders by id are the same on both sides.
        ids = [str(UUID(int=(self.stories << 64) + number)) for number in range(IMAGES)]
        names = {f"{{{number}}}": image for number, image in enumerate(ids)}
        names |= {"{absent}": _ABSENT, "{web}": self.web}
        glance = Side(self.glance, self.callers, names)
        catalog = Side(self.ours, self.callers, names)
        told = ""
        try:
            for call in story:
                self.calls += 1
                told += f"\n  {call}"
                theirs, ours = call.send(glance), call.send(catalog)
                if call.path.endswith("/import") and theirs.status == ours.status == 202:
                    image = names[call.path.split("/")[2]]
                    for side in (glance, catalog):
                        ImagesApi(side.url, dict(side.callers[0].headers)).settle(image)
                seen, wanted = comparable(ours), comparable(theirs)
                if seen == wanted:
                    continue
                difference = explained(call, theirs, ours)
                if difference is None:
                    message = f"{told}\nGlance: {wanted}\nours:   {seen}"
                    raise AssertionError(message)
                self.explained[difference.what] += 1
                if call.method != "GET":
                    break
        finally:
            for side in (glance, catalog):
                _forget(side)


def _forget(side: Side) -> None:
    """Delete what a story may have left."""
    free = [{"op": "replace", "path": "/protected", "value": False}]
    for number in range(IMAGES):
        deletion = Call("DELETE", f"/images/{{{number}}}")
        if deletion.send(side).expect(204, 403, 404).status == 403:
            patch = Call("PATCH", f"/images/{{{number}}}", document=free, content_type=V21)
            patch.send(side).expect(200)
            deletion.send(side).expect(204)


def comparable(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """Return what of an answer must be the same on both sides."""
    headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
    if "location" in headers:
        headers["location"] = urlsplit(headers["location"]).path
    if "allow" in headers:
        allowed = set(headers["allow"].split(", ")) - {
            "HEAD"
        }  # of data; Glance gives it to GET only
        headers["allow"] = ", ".join(sorted(allowed))
    stores = headers.get("openstack-image-store-ids", "").split(",")
    if stores != [""]:  # Glance names its own ones too, now and then
        kept = [store for store in stores if not store.startswith("os_glance_")]
        headers["openstack-image-store-ids"] = ",".join(kept)
    if answer.status >= 400 or not answer.body:
        headers.pop("content-type", None)
        return answer.status, headers, None
    if headers.get("content-type", "").startswith("application/json"):
        return answer.status, headers, _plain(json.loads(answer.body))
    return answer.status, headers, answer.body


def _plain(document: Any) -> Any:
    """Return a document without what differs by nature: times, fields of one side, where data is."""
    if isinstance(document, list):
        return [_plain(inner) for inner in document]
    if not isinstance(document, dict):
        return "TIME" if isinstance(document, str) and _TIME.fullmatch(document) else document
    plain = {name: _plain(inner) for name, inner in document.items() if name not in LEFT_OUT}
    for link in ("first", "next"):
        if isinstance(plain.get(link), str):
            plain[link] = _link(plain[link])
    if "tags" in plain and "self" in plain:
        plain["tags"] = sorted(plain["tags"])
        plain["owner"] = plain["owner"] or None  # Glance shows an empty one as either
    if isinstance(plain.get("members"), list):
        plain["members"].sort(key=lambda member: member["member_id"])  # Glance has no order
    if plain.keys() == {"url", "metadata"}:
        plain["url"] = "URL"  # of a place
    return plain


def _link(link: str) -> Any:
    """Return a link to a page; Glance's forgets all but the last of parameters of one name."""
    path, _, query = link.partition("?")
    return path, dict(parse_qsl(query, keep_blank_values=True))
