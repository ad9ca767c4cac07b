"""Moto, an S3 server that is nobody's kin: no code of Amazon's, of OpenStack's or of ours.

It checks neither keys nor signatures, and takes parts of any length here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.program import Program, free_port
from harness.services import python_of


@contextmanager
def running_moto(directory: Path, *, tls: bool = False) -> Iterator[str]:
    """Run moto's server with its log in `directory`; it is empty.  Yields its address.

    With `tls`, its certificate is `directory/server.pem`, which must be there.
    """
    port = free_port()
    certificate: list[str | Path] = []
    if tls:
        certificate = ["-c", directory / "server.pem", "-k", directory / "server.key"]
    server = python_of("moto").with_name("moto_server")
    program = Program(
        f"moto-{port}",
        [server, "-H", "127.0.0.1", "-p", str(port), *certificate],
        directory=directory,
        environment={"S3_UPLOAD_PART_MIN_SIZE": "1", "AWS_EC2_METADATA_DISABLED": "true"},
    )
    try:
        program.wait_for_port(port)
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}"
    finally:
        program.stop(codes=(0, -15))
