"""The use case: signed URLs, for clients that cannot send a token (qemu).  Knows no HTTP.

A grant lets whoever has its text read one image until it ends.  Rules:

1. Who is given one, or has one renewed, may download the image himself, by the upstream's word.
2. The right is asked again at each use (and believed for `permission_seconds`): with the token that
   it was given for, while a worker has it in memory; once that has ended, of the proxy's own
   account, for the project of that token (`projectright.py`).  Without either it is over.
3. What the upstream refuses is refused; that it cannot be asked is never taken for a no.
4. A renewal changes when it ends, and the token, but not the text: a guest keeps its URL.
5. Texts and tokens are in no log and no error; tokens are on no disk.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cacheproxy.account import Account
from cacheproxy.config import SignedUrlSettings
from cacheproxy.core import grant as grants
from cacheproxy.core.grant import Grant
from cacheproxy.core.judgement import UNKNOWN, Verdict
from cacheproxy.errors import (
    AccountError,
    IdentityError,
    ProxyError,
    StorageError,
    UpstreamAnswerError,
    UpstreamError,
)
from cacheproxy.grantbook import GrantBook
from cacheproxy.grantcredentials import HEADERS_BYTES_MAX, GrantCredentials, credentials, size
from cacheproxy.headers import Headers
from cacheproxy.identity import Identities
from cacheproxy.imagerecord import image_record
from cacheproxy.permission import Asks, Permissions
from cacheproxy.projectright import PROJECT
from cacheproxy.upstream import Upstream

UNAUTHENTICATED = 401  # the upstream does not take this token, or not any more
FORBIDDEN = 403
WITHOUT_DATA = 500  # what a Glance answers of an image without a size, to those who may
NEW_SECONDS = 5.0  # so long after it was given, other workers may not know a grant's token yet

Reason = Literal["malformed", "signature", "expired", "token", "refused", "unavailable"]


class GrantError(ProxyError):
    """A grant that is not, or cannot be, honoured; the message says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Given:
    """A grant as it is handed out."""

    text: str = field(repr=False)
    expires: int  # seconds since 1970
    ends_with_token: bool  # nobody will be able to ask for its project
    disk_format: str | None  # of the image, if that is shown to who asked


class Grants:
    """Gives, renews and honours grants; for one worker.

    `tell` has the other workers know a grant's credentials.  `project_right` and `projects` ask
    for projects (see `projectright.py`), the latter remembering the answers.
    """

    def __init__(  # noqa: PLR0913  (it is where all these meet)
        self,
        settings: SignedUrlSettings,
        book: GrantBook,
        *,
        upstream: Upstream,
        permissions: Permissions,
        project_right: Asks,
        projects: Permissions,
        account: Account,
        identities: Identities,
        tell: Callable[[str, Headers, int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._book = book
        self._upstream = upstream
        self._permissions = permissions
        self._project_right = project_right
        self._projects = projects
        self._account = account
        self._identities = identities
        self._tell = tell
        self._clock = clock
        self._credentials = GrantCredentials(clock)

    def __repr__(self) -> str:
        return f"<Grants {self._credentials!r}>"

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._projects.close()
        await self._account.close()
        await self._identities.close()
        self._book.close()

    # --- giving -----------------------------------------------------------------------------------

    async def give(self, image_id: str, headers: Headers, lifetime: int | None) -> Given:
        """Give a grant to the sender of these headers.

        `UpstreamAnswerError` if the upstream would not let him download the image, `ValueError` for
        a lifetime that is too long, `GrantError` if it cannot be done now.
        """
        seconds = self._lifetime(lifetime)
        own, project = await self._caller(image_id, headers)
        try:
            key = await self._book.signing_key()
        except StorageError as error:
            raise GrantError("unavailable", f"no URL can be signed now: {error}") from error
        now = int(self._clock())
        nonce = secrets.token_bytes(grants.NONCE_BYTES)
        text = grants.issue(key, image_id, project, issued=now, expires=now + seconds, nonce=nonce)
        self._remember(grants.name_of(image_id, text), own, now + seconds)
        disk_format = await self._disk_format(image_id, own)
        return Given(text, now + seconds, project is None, disk_format)

    async def renew(
        self, image_id: str, headers: Headers, text: str, lifetime: int | None
    ) -> Given:
        """Have a grant, also one that has expired, end later; errors are those of `give`."""
        seconds = self._lifetime(lifetime)
        grant, name = _read(image_id, text)
        try:
            await self._check(grant, name, image_id)
        except GrantError as error:
            if error.reason != "expired":
                raise
        own, project = await self._caller(image_id, headers)
        if grant.project != project and None not in (grant.project, project):
            raise GrantError("refused", "the URL belongs to another project")
        wanted = max(grant.expires, int(self._clock()) + seconds)
        try:
            expires = await self._book.renew(name, wanted)
        except StorageError as error:
            raise GrantError("unavailable", f"no URL can be renewed now: {error}") from error
        self._remember(name, own, expires)
        disk_format = await self._disk_format(image_id, own)
        return Given(text, expires, not self._lasting(grant), disk_format)

    def told(self, name: str, headers: Headers, until: int) -> None:
        """Another worker has given, or renewed, a grant."""
        self._credentials.put(name, headers, until)

    # --- honouring --------------------------------------------------------------------------------

    async def honour(self, image_id: str, text: str) -> Headers:
        """Return the headers with which the upstream is asked for the image's data, by its word.

        `GrantError` says why not.
        """
        grant, name = _read(image_id, text)
        await self._check(grant, name, image_id)
        own = self._credentials.get(name)
        if own is None and not self._lasting(grant) and self._is_new(grant):
            own = await self._credentials.arrived(name)
        if own is not None and await self._usable(image_id, own):
            return own
        if own is not None and self._credentials.get(name) is own:  # not renewed meanwhile
            self._credentials.forget(name)
        if not self._lasting(grant):
            raise GrantError(
                "token",
                "the token that this URL was signed for has ended; renew the URL with another one"
                + ("" if self._account.configured else ", or configure [service_user]"),
            )
        return await self._for_project(image_id, str(grant.project))

    async def _check(self, grant: Grant, name: str, image_id: str) -> None:
        """Raise `GrantError` unless it was signed here for this image, and has not ended."""
        if self._book.remembered(name):
            return
        try:
            key = await self._book.verifying_key(grant.key)
            if key is not None and not grant.signed_by(key, image_id):
                raise GrantError("signature", "this URL was not signed here, or was altered")
            if key is not None and self._clock() < grant.expires:
                return
            # What was renewed outlives its key: its name is made from all of it, and the image.
            ends = await self._book.ends(name)
        except StorageError as error:
            raise GrantError("unavailable", f"the URL cannot be checked now: {error}") from error
        if ends is not None and self._clock() < ends:
            return
        if key is None and ends is None:
            raise GrantError("signature", "this URL was not signed here, or long ago")
        raise GrantError("expired", "this URL has expired; renew it, or have another one signed")

    async def _for_project(self, image_id: str, project: str) -> Headers:
        question = [(PROJECT, project)]
        if not await self._projects.allowed(image_id, question):
            verdict = await self._project_right.may_download(image_id, question)  # why not
            if verdict is Verdict.REFUSED:
                raise _refused()
            if verdict is not Verdict.ALLOWED:
                raise _unavailable()
        for _ in range(2):
            try:
                own = await self._account.headers()
            except AccountError as error:
                raise _unavailable() from error
            status = await self._status(image_id, own)
            if status == UNKNOWN:
                raise _refused()  # deleted a moment ago
            if status == FORBIDDEN:
                raise GrantError(
                    "unavailable",
                    "the proxy's own account ([service_user]) may not download images",
                )
            if status != UNAUTHENTICATED:
                return own
            self._account.refused(own)
        raise _unavailable()

    async def _usable(self, image_id: str, own: Headers) -> bool:
        """Whether the image can be asked for with these; False: their token has ended.

        Also true where the upstream does not say no in so many words: whatever it will say to a
        request for the data is then the answer.
        """
        status = await self._status(image_id, own)
        if status in (FORBIDDEN, UNKNOWN):
            raise _refused()
        return status != UNAUTHENTICATED

    async def _status(self, image_id: str, own: Headers) -> int:
        """Return what the upstream answers whoever may, 200, or why he may not."""
        if await self._permissions.allowed(image_id, own):
            return 200
        word = await self._upstream.may_download(image_id, own)
        if word is None or word.status > WITHOUT_DATA:
            raise _unavailable()
        return word.status

    # --- whose it is ------------------------------------------------------------------------------

    async def _caller(self, image_id: str, headers: Headers) -> tuple[Headers, str | None]:
        """Return the credentials and the project of somebody who may download the image."""
        own = credentials(headers)
        if size(own) > HEADERS_BYTES_MAX:
            raise ValueError(f"more than {HEADERS_BYTES_MAX} characters of credentials")
        status = await self._status(image_id, own)
        if status in (UNAUTHENTICATED, FORBIDDEN, UNKNOWN, WITHOUT_DATA):
            raise UpstreamAnswerError(status, "no signed URL")
        return own, await self._project(own) if self._account.configured else None

    async def _project(self, own: Headers) -> str | None:
        """Return the project of the token among these, None if it is for none."""
        token = next((value for name, value in own if name.lower() == "x-auth-token"), None)
        if token is None:
            return None
        try:
            identity = await self._identities.of(token)
        except IdentityError as error:
            raise GrantError("unavailable", f"the token's project is not known: {error}") from error
        project = identity.project_id if identity is not None else None
        return project if project is not None and grants.can_be_named(project) else None

    async def _disk_format(self, image_id: str, own: Headers) -> str | None:
        try:
            return (await image_record(self._upstream, image_id, own)).disk_format
        except UpstreamError:
            return None

    def _remember(self, name: str, own: Headers, until: int) -> None:
        self._credentials.put(name, own, until)
        self._tell(name, own, until)

    def _lasting(self, grant: Grant) -> bool:
        """Whether it can outlive its token."""
        return grant.project is not None and self._account.configured

    def _is_new(self, grant: Grant) -> bool:
        return abs(self._clock() - grant.issued) < NEW_SECONDS

    def _lifetime(self, lifetime: int | None) -> int:
        most = self._settings.lifetime_seconds_max
        if lifetime is None:
            return min(self._settings.lifetime_seconds, most)
        if not 1 <= lifetime <= most:
            raise ValueError(f"lifetime is a number of seconds from 1 to {most}")
        return lifetime


def _read(image_id: str, text: str) -> tuple[Grant, str]:
    grant = grants.read(text)
    if grant is None:
        raise GrantError("malformed", "this is no signed URL; it was cut, or altered")
    return grant, grants.name_of(image_id, text)


def _unavailable() -> GrantError:
    return GrantError("unavailable", "the image service cannot be asked now; try again")


def _refused() -> GrantError:
    return GrantError("refused", "the image service does not let this URL's owner have the image")
