"""The settings in force, and those that the keeper has still to take after a SIGHUP."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from cacheproxy.config import Settings
from cacheproxy.errors import ConfigError
from cacheproxy.processes.orders import Reload
from cacheproxy.processes.slot import Slot

log = logging.getLogger(__name__)


class Rereading:
    """Reads the configuration again; what the keeper refuses never comes into force."""

    def __init__(self, settings: Settings, reread: Callable[[Settings], Settings]) -> None:
        self.settings = settings
        self._reread = reread
        self._offered = settings
        self._asked: int | None = None  # the process of the keeper that has yet to answer ...
        self._unanswered: deque[Settings] = deque()  # ... these, in order

    def read(self, keeper: Slot | None) -> None:
        """Read the files and offer the keeper what they say; a bad file is only logged."""
        try:
            self._offered = self._reread(self.settings)
        except ConfigError as error:
            log.error("nothing is changed: %s", error)  # noqa: TRY400  (the message says what to do)
            return
        log.info("the configuration was read again")
        self.offer(keeper)

    def offer(self, keeper: Slot | None) -> None:
        """Tell a keeper that is ready what it does not know yet; one that is away will find it."""
        pid = None if keeper is None else keeper.pid
        if pid != self._asked:
            self._asked = pid
            self._unanswered.clear()  # it is gone
        if self._offered == (self._unanswered[-1] if self._unanswered else self.settings):
            return
        if keeper is None or pid is None:
            self.settings = self._offered
        elif keeper.ready:
            cache = self._offered.cache
            order = Reload(limit_bytes=cache.limit_bytes, project_share=cache.project_share)
            if keeper.send(order):
                self._unanswered.append(self._offered)

    def settled(self, keeper: Slot | None) -> bool:
        """Whether the keeper has answered all that it was offered, or is away."""
        return not self._unanswered or keeper is None or not keeper.ready

    def answered(self, *, taken: bool) -> None:
        """The keeper has taken what it was offered first, or has refused it."""
        if not self._unanswered:
            return  # the last words of a keeper that has a successor
        answered = self._unanswered.popleft()
        if taken:
            self.settings = answered
        elif not self._unanswered:
            self._offered = self.settings
