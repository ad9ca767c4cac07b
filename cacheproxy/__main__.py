"""The command line: `cacheproxy COMMAND`; see cli/."""

from __future__ import annotations

import sys

from cacheproxy.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
