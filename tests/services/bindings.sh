#!/bin/bash
# Let each of the given environments' Pythons import rados and rbd from Debian's packages
# python3-rados and python3-rbd, and nothing else that Debian has for Python.
set -eu

for python in "$@"; do
    "$python" - <<'END'
import sys
import sysconfig
from pathlib import Path

debian = Path("/usr/lib/python3/dist-packages")
here = Path(sysconfig.get_path("purelib"))
for name in ("rados", "rbd"):
    file = name + sysconfig.get_config_var("EXT_SUFFIX")
    if not (debian / file).exists():
        print(f"Ceph: {debian / file} is missing: that is for Debian's own version of Python, "
              f"this is {sys.version.split()[0]}", file=sys.stderr)
        break
    (here / file).unlink(missing_ok=True)
    (here / file).symlink_to(debian / file)
END
done
