"""Runs qemu-img: a child with limits, which dies with whoever waits for it, and with this process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from registry.domain.errors import InvalidRequestError
from registry.plugins.failures import no_space

LOG = logging.getLogger(__name__)

INFO_SECONDS: Final = 60.0
CONVERSION_SECONDS: Final = 6 * 3600.0
# What a crafted image may cost before it is known to be sound; oslo.concurrency's way.
_INFO_LIMITS: Final = ("prlimit", f"--as={1 << 30}", "--cpu=30", "--")
_CHILD: Final = ("setpriv", "--pdeathsig", "KILL")


async def describe(path: Path, form: str) -> Any:
    """Return what qemu-img knows of an image, taken for one of this format."""
    command = (*_INFO_LIMITS, "qemu-img", "info", "-f", form, "--output=json", str(path))
    told = await _run(command, INFO_SECONDS, path)
    try:
        return json.loads(told)
    except ValueError:
        raise InvalidRequestError("qemu-img tells nothing of the image") from None


async def convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    """Write an image anew, in another format."""
    command = ("qemu-img", "convert", "-f", source_format, "-O", target_format)
    await _run((*command, str(source), str(target)), CONVERSION_SECONDS, source)


async def _run(command: Sequence[str], seconds: float, image: Path) -> bytes:
    """Return what a program prints; `InvalidRequestError` with what it complains of."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *_CHILD,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,
        )
    )
    try:
        async with asyncio.timeout(seconds):
            child = await asyncio.shield(starting)
            printed, complaint = await child.communicate()
    except TimeoutError:
        raise InvalidRequestError(f"qemu-img has not ended after {seconds:.0f} seconds") from None
    except FileNotFoundError as error:
        LOG.error("%s is not installed", error.filename)  # noqa: TRY400  # what it says is enough
        raise InvalidRequestError("Images cannot be converted here") from None
    finally:
        ending = asyncio.create_task(_end(starting))
        while not ending.done():  # whatever is cancelled meanwhile
            with suppress(asyncio.CancelledError):
                await asyncio.wait({ending})
    if child.returncode == 0 and not complaint:
        return printed
    told = " ".join(complaint.decode(errors="replace").split())
    LOG.warning("%s ended with %s: %s", " ".join(command), child.returncode, told)
    if "No space left on device" in told or "Disk quota exceeded" in told:
        raise no_space()
    if not told:
        told = f"it was ended by {_ending(child.returncode)}"
    told = told.removeprefix("qemu-img: ").replace(str(image), "the image")
    raise InvalidRequestError(f"qemu-img: {told}")


async def _end(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    """See to it that the child is gone: it begins to write before it counts as started."""
    with suppress(OSError):  # there is no such program, which whoever waits for it hears
        child = await starting
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"code {code}"
