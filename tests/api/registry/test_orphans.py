"""An operator who takes a store away is told what was in it, and may put it back."""

from __future__ import annotations

from pathlib import Path

from harness.mortal import mortal_catalog
from harness.waiting import until

DATA = bytes(range(256)) * 4096
BOTH = "enabled_backends = one:file,two:file\n"
STORES = """
[DEFAULT]
{enabled}
[glance_store]
default_backend = one
[one]
filesystem_store_datadir = {directory}/one
[two]
filesystem_store_datadir = {directory}/two
[os_glance_staging_store]
filesystem_store_datadir = {directory}/staging
"""


def test_a_store_that_is_taken_away(tmp_path: Path) -> None:
    stores = STORES.format(directory=tmp_path, enabled=BOTH)
    with mortal_catalog(tmp_path, stores) as catalog:
        image, staged = catalog.api.create(), catalog.api.create()
        catalog.api.upload(image, DATA, store="two")
        octets = {"Content-Type": "application/octet-stream"}
        catalog.api.call("PUT", f"/{staged}/stage", headers=octets, body=DATA).expect(204)
        file, log = tmp_path / "registry.conf", catalog.program.log
        before = file.read_text()
        catalog.stop()
        without = before.replace(BOTH, "enabled_backends = one:file\n")
        file.write_text(f"{without}staging_store = one\n")  # behind [cacheproxy]
        catalog.start()

        def told() -> bool:
            text = log.read_text()
            gone = "1 images have data in the store two, which [DEFAULT] enabled_backends"
            elsewhere = f"1 images wait for their import in {tmp_path}/staging ({staged})"
            return gone in text and elsewhere in text

        until("the operator to be told", told)
        catalog.stop()
        file.write_text(before)
        catalog.start()
        assert catalog.api.download(image).expect(200).body == DATA
        document = {"method": {"name": "glance-direct"}}
        catalog.api.call("POST", f"/{staged}/import", document=document).expect(202)
        until("the import", lambda: catalog.api.show(staged)["status"] == "active", 60)
