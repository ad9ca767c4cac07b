"""The question "may he download this?" to a real Glance whose images are in real object stores.

On each store and for each state of an image: what Glance answers to the proxy's question (an
unsatisfiable range), whoever asks; that no store is read for it, and none has to be there; and that
what follows through a proxy is what Glance would give, but for ranges, which it refuses here (400).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cacheproxy.upstream import UNSATISFIABLE_RANGE
from harness.glance import Glance
from harness.http import Answer, ask
from harness.images import random_bytes
from harness.images_api import ImagesApi
from harness.keystone import ADMIN, MEMBER, PARTNER, READER, STRANGER, Keystone, User
from harness.node import Node, running_node
from harness.stores import Store

SIZE = (3 << 20) + 4321
DATA = random_bytes(SIZE, seed=33)
SPAN = "bytes=1048570-1048585"  # over the border of two chunks
PART = DATA[1048570:1048586]
LITTLE = 64 << 10  # what an OSD may be asked for meanwhile by others
ASK_ALWAYS = "[upstream]\npermission_seconds = 0\n"
CALLERS: dict[str, User | str | None] = {
    "admin": ADMIN,
    "member": MEMBER,
    "reader": READER,  # of the project that the image belongs to
    "stranger": STRANGER,
    "partner": PARTNER,  # an accepted member of the image
    "nobody": None,
    "forger": "gAAAAABforged",
}
# The status of Glance's answer to the question, in the order of the callers.
QUESTION = {
    "active": (416, 416, 403, 404, 416, 401, 401),
    "deactivated": (416, 403, 403, 404, 403, 401, 401),
    "queued": (500, 500, 403, 404, 500, 401, 401),  # no size to judge a range by
    "deleted": (404, 404, 404, 404, 404, 401, 401),
}
# To the whole, and what it answers with to a range: never a part.
WHOLE = {"active": 200, "deactivated": 200, "queued": 204, "deleted": 404}
RANGE = {"active": 400, "deactivated": 400, "queued": 500, "deleted": 404}


@dataclass(frozen=True)
class Scene:
    """One store of a Glance, images in it by their state, and a proxy in front."""

    keystone: Keystone
    glance: Glance
    store: Store
    node: Node
    images: dict[str, str]

    def download(self, url: str, state: str, caller: str, span: str | None) -> Answer:
        who = CALLERS[caller]
        token = self.keystone.token(who) if isinstance(who, User) else who
        headers = {} if token is None else {"X-Auth-Token": token}
        if span is not None:
            headers["Range"] = span
        return ask("GET", f"{url}/v2/images/{self.images[state]}/file", headers=headers)


def image_in(state: str, store: Store, keystone: Keystone, glance: Glance) -> str:
    """Make an image of the member's project, shared with the partner, in this state."""
    member, admin = (
        ImagesApi(glance.url, {"X-Auth-Token": keystone.token(user)}) for user in (MEMBER, ADMIN)
    )
    image = member.create(name=f"{store.name} {state}")
    if state != "queued":
        store.upload(member, image, DATA)
    partner = keystone.project_id(PARTNER)
    member.call("POST", f"/{image}/members", document={"member": partner}).expect(200)
    his = ImagesApi(glance.url, {"X-Auth-Token": keystone.token(PARTNER)})
    accepted = {"status": "accepted"}
    his.call("PUT", f"/{image}/members/{partner}", document=accepted).expect(200)
    if state == "deactivated":
        admin.call("POST", f"/{image}/actions/deactivate").expect(204)
    elif state == "deleted":
        member.delete(image)
    return image


@pytest.fixture(scope="module")
def scene(
    stored_glance: tuple[Glance, Store],
    keystone: Keystone,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    glance, store = stored_glance
    directory = tmp_path_factory.mktemp(f"node-{store.name}")
    images = {state: image_in(state, store, keystone, glance) for state in QUESTION}
    with running_node(directory, glance.url, more=ASK_ALWAYS) as node:
        yield Scene(keystone, glance, store, node, images)


@pytest.mark.parametrize("state", QUESTION)
def test_glance_answers_the_question_and_reads_no_store(scene: Scene, state: str) -> None:
    before = scene.store.read_bytes()
    found = {
        caller: scene.download(scene.glance.url, state, caller, UNSATISFIABLE_RANGE).status
        for caller in CALLERS
    }
    assert found == dict(zip(CALLERS, QUESTION[state], strict=True))
    assert scene.store.read_bytes() - before < LITTLE
    if state == "active":  # and who does read it is seen
        assert scene.download(scene.glance.url, state, "member", None).body == DATA
        assert scene.store.read_bytes() - before >= SIZE


@pytest.mark.parametrize("state", QUESTION)
def test_the_answer_is_what_follows_through_a_proxy(scene: Scene, state: str) -> None:
    """The rightful get what Glance gives them, and parts; all others Glance's own refusal.

    A deactivated image is passed through, unless it was cached before.
    """
    for caller, word in zip(CALLERS, QUESTION[state], strict=True):
        for span in (None, SPAN):
            right = scene.download(scene.glance.url, state, caller, span)
            found = scene.download(scene.node.url, state, caller, span)
            where = (state, caller, span, found.status)
            may = word in (416, 500)
            glances = (WHOLE if span is None else RANGE)[state] if may else word
            assert right.status == glances, where
            if span is not None and (state, word) == ("active", 416):
                assert (found.status, found.body) == (206, PART), where
                assert found.headers["content-range"] == f"bytes 1048570-1048585/{SIZE}", where
            else:
                assert (found.status, found.body) == (right.status, right.body), where
            if word == 416 and span is None:
                assert found.body == DATA, where


def test_a_question_through_the_proxy_is_answered_as_by_glance(scene: Scene) -> None:
    before = scene.store.read_bytes()
    for state in ("active", "deactivated", "deleted"):
        for caller, word in zip(CALLERS, QUESTION[state], strict=True):
            answer = scene.download(scene.node.url, state, caller, UNSATISFIABLE_RANGE)
            assert answer.status == word, (state, caller)
    assert scene.store.read_bytes() - before < LITTLE


def test_the_question_needs_no_store_and_what_is_cached_neither(scene: Scene) -> None:
    """The store's processes stand still: Glance itself would wait for it."""
    assert scene.download(scene.node.url, "active", "member", None).body == DATA
    with scene.store.paused():
        for state, words in QUESTION.items():
            for caller, word in zip(CALLERS, words, strict=True):
                answer = scene.download(scene.glance.url, state, caller, UNSATISFIABLE_RANGE)
                assert answer.status == word, (state, caller)
        for caller, word in zip(CALLERS, QUESTION["active"], strict=True):
            whole = scene.download(scene.node.url, "active", caller, None)
            part = scene.download(scene.node.url, "active", caller, SPAN)
            if word == 416:
                assert (whole.status, whole.body) == (200, DATA), caller
                assert (part.status, part.body) == (206, PART), caller
            else:
                assert (whole.status, part.status) == (word, word), caller
