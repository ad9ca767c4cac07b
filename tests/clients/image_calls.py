"""Nova's and Cinder's own image code, called from outside; runs in the environment of either.

Arguments: `nova` or `cinder`, and its configuration file.  Each line of the input is a call,
`{"call": NAME, "as": {"token": …, "project": …}, "with": {…}}`; each line of the output its result
or `{"error": NAME, "text": …}`.  `data` names a file with an image's bytes, `to` one for them.
"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SERVICES = {"nova": "GlanceImageServiceV2", "cinder": "GlanceImageService"}


class Caller:
    """One of them, with its configuration."""

    def __init__(self, name: str, configuration: str) -> None:
        # Neither is known where this file is checked, and Cinder's modules import one another.
        options = importlib.import_module("oslo_config.cfg").CONF
        if name == "nova":
            importlib.import_module("nova.conf")
            importlib.import_module("nova.objects").register_all()
        else:
            importlib.import_module("cinder.image.image_utils")
        options(["--config-file", configuration], project=name)
        self._context = importlib.import_module(f"{name}.context").RequestContext
        module = importlib.import_module(f"{name}.image.glance")
        self._service = getattr(module, SERVICES[name])()

    def call(self, asked: dict[str, Any]) -> Any:
        """Make one call."""
        caller, arguments = asked["as"], dict(asked["with"])
        context = self._context(
            user_id="somebody", project_id=caller["project"], auth_token=caller["token"]
        )
        with ExitStack() as files:
            for name, mode in (("data", "rb"), ("to", "wb")):
                if name in arguments:
                    file = Path(arguments.pop(name)).open(mode)  # noqa: SIM115  the stack closes it
                    arguments["data"] = files.enter_context(file)
            return getattr(self._service, asked["call"])(context, **arguments)


def main() -> None:
    """Answer calls until the input ends."""
    caller = Caller(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        try:
            answer = {"result": caller.call(json.loads(line))}
        except Exception as error:  # noqa: BLE001  the test judges it
            answer = {"error": type(error).__name__, "text": str(error)}
        sys.stdout.write(json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
