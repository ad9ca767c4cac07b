"""Every call of the catalog: what it takes, and what it may answer.

Glance's own calls but for those that are marked; a test holds this to the table of routes, and
every answer that the tests of the API see to what stands here.
"""

from __future__ import annotations

from registry.web.openapi.data import DATA
from registry.web.openapi.discovery import DISCOVERY
from registry.web.openapi.imports import IMPORTS
from registry.web.openapi.metadefs import METADEFS
from registry.web.openapi.parts import Operation
from registry.web.openapi.records import OF_ALL, RECORDS

OPERATIONS: tuple[Operation, ...] = (*(*DISCOVERY, *RECORDS, *DATA, *IMPORTS, *METADEFS, *OF_ALL),)
# What any call may answer: the caller is not known, header fields too long, a store or the database away.
ALWAYS = (400, 401, 431, 503)
