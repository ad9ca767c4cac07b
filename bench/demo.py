"""`make run`: a real image through catalog and proxy, from upload to hit, told as it happens.

Everything lives below `.run/` and on addresses of this machine; Ctrl-C stops all of it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench.daemons import catalog, proxy
from bench.images import MIB, Reading, ask, download, part, sha512, upload
from bench.server import Server

HERE = Path(".run")
IMAGE_FILES = Path("/usr/share")  # real files for the image, where nobody names one
IMAGE_BYTES = 256 * MIB
FILES_BYTES_MAX = 160 * MIB
RANGES = 24
FIRST_RANGE_BYTES = 64 << 10


def main() -> int:
    """Run the story, then keep serving until Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has told us to ignore one
        signal.signal(number, signal.default_int_handler)
    HERE.mkdir(exist_ok=True)
    for old in ("cache", "images", "catalog.db"):
        remove(HERE / old)
    image = chosen_image()
    try:
        with catalog(HERE) as upstream, proxy(HERE, upstream.url) as node:
            story(image, upstream, node)
            farewell(upstream, node)
            wait_for_interrupt(upstream, node)
    except KeyboardInterrupt:
        print("\nstopped")
    except RuntimeError as error:
        print(f"\nmake run: {error}", file=sys.stderr)
        return 1
    return 0


# --- the image ------------------------------------------------------------------------------------


def chosen_image() -> Path:
    """Return the image that IMAGE names, or make one: an ext4 file system of real files."""
    named = os.environ.get("IMAGE")
    if named:
        path = Path(named)
        if not path.is_file():
            raise SystemExit(f"make run: IMAGE={named} is no file; name a disk image")
        return path
    path = HERE / "disk.raw"
    if path.exists():
        return path
    mke2fs = shutil.which("mke2fs") or shutil.which("mke2fs", path="/sbin:/usr/sbin")
    temporary = HERE / "disk.part"
    remove(temporary)
    if mke2fs is None:
        with temporary.open("wb") as file:
            for _ in range(IMAGE_BYTES // MIB):
                file.write(os.urandom(MIB))
        print("no mke2fs here (package e2fsprogs): the image is random bytes")
    else:
        tree = HERE / "tree"
        remove(tree)
        copied = copy_some(IMAGE_FILES, tree, FILES_BYTES_MAX)
        command = [mke2fs, "-q", "-t", "ext4", "-d", str(tree), str(temporary)]
        subprocess.run([*command, f"{IMAGE_BYTES // MIB}M"], check=True)
        remove(tree)
        print(f"made an ext4 image with {copied} files of {IMAGE_FILES}")
    temporary.rename(path)
    return path


def copy_some(source: Path, target: Path, bytes_max: int) -> int:
    """Copy regular files until so many bytes are there; how many files that were."""
    copied, left = 0, bytes_max
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            size = path.lstat().st_size
            if path.is_symlink() or not path.is_file() or size > left:
                continue
            there = target / path.relative_to(source)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)
            copied, left = copied + 1, left - size
        if left < MIB:
            break
    return copied


# --- the story ------------------------------------------------------------------------------------


class Metrics:
    """The proxy's own counters, and what changed in them."""

    def __init__(self, node: Server) -> None:
        self._node = node
        self._before = node.metrics()

    def told(self) -> str:
        """Say what the proxy did since: how it answered, and what it took from the upstream."""
        after = self._node.metrics()
        grown = {name: value - self._before.get(name, 0) for name, value in after.items()}
        results = [
            name.split('"')[1]
            for name, value in sorted(grown.items())
            if name.startswith("cacheproxy_requests_total{") and value
        ]
        fetched = size(grown["cacheproxy_upstream_bytes_total"])
        return f"{'+'.join(results):<8}{fetched:>11} from upstream"


def story(image: Path, upstream: Server, node: Server) -> None:
    """Upload, download cold and warm, by range, and as another image twice at once."""
    total = image.stat().st_size
    print(f"\n  image    {image}, {size(total)}")
    print(f"  catalog  {upstream.url}  (SQLite and files below {HERE}/)")
    print(f"  proxy    {node.url}  (cache below {HERE}/cache, at most 10 GiB)")
    print(f"  metrics  {node.metrics_url}\n")
    started = time.monotonic()
    first, expected = send(node, image, "demo")
    line("upload through the proxy", total, started, "the catalog publishes its manifest")

    metrics, started = Metrics(node), time.monotonic()
    taken = len(part(node, first, total // 2, min(total, total // 2 + FIRST_RANGE_BYTES)))
    line("first range, cold image", taken, started, f"{metrics.told()}   verified by chunk")

    for name in ("cold download", "warm download"):
        metrics, started = Metrics(node), time.monotonic()
        digest = download(node, first, partial(watched, name))
        line(name, total, started, f"{metrics.told()}   {verdict(digest, expected)}")

    metrics, started = Metrics(node), time.monotonic()
    taken = random_ranges(node, first, image)
    line(f"{RANGES} random ranges", taken, started, f"{metrics.told()}   equal to the file")

    second, _ = send(node, image, "demo again")
    metrics, started = Metrics(node), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        digests = set(pool.map(lambda _: download(node, second), range(2)))
    line(
        "same bytes, another image",
        2 * total,
        started,
        f"{metrics.told()}   {verdict(*digests, expected)}",
    )


def send(node: Server, image: Path, name: str) -> tuple[str, str]:
    """Upload the image; its id and its SHA-512."""
    with image.open("rb") as file:
        disk_format = "qcow2" if file.read(4) == b"QFI\xfb" else "raw"
        file.seek(0)
        reading = progress(file.read, image.stat().st_size, f"upload {name}")
        image_id = upload(node, reading, name, disk_format)
    return image_id, sha512(node, image_id)


def random_ranges(node: Server, image_id: str, image: Path) -> int:
    """Compare some ranges with the file; how many bytes that were."""
    chosen, total, taken = random.Random(1), image.stat().st_size, 0
    with image.open("rb") as file:
        for _ in range(RANGES):
            start = chosen.randrange(total)
            stop = min(total, start + chosen.randrange(1, 3 * MIB))
            data = part(node, image_id, start, stop)
            file.seek(start)
            if data != file.read(stop - start):
                raise RuntimeError(f"bytes {start}-{stop - 1} are wrong")
            taken += len(data)
    return taken


# --- the page -------------------------------------------------------------------------------------


def watched(name: str, read: Reading, total: int) -> Reading:
    """Draw a bar for a download."""
    return progress(read, total, name)


def progress(read: Reading, total: int, name: str) -> Reading:
    """Draw a bar on a terminal while something is read."""
    done, shown = 0, 0.0

    def reading(count: int) -> bytes:
        nonlocal done, shown
        data = read(count)
        done += len(data)
        if sys.stdout.isatty() and time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            filled = "#" * (30 * done // max(total, 1))
            print(f"\r  {name:<26}[{filled:<30}]", end="", flush=True)
        return data

    return reading


def line(name: str, count: int, started: float, rest: str) -> None:
    """Print what one step did."""
    seconds = max(time.monotonic() - started, 1e-6)
    erase = "\r\x1b[K" if sys.stdout.isatty() else ""
    rate = f"{size(count / seconds)}/s"
    print(f"{erase}  {name:<26}{size(count):>10} {seconds:7.2f} s {rate:>13}   {rest}", flush=True)


def verdict(*digests: str) -> str:
    """Say whether all hashes are one; RuntimeError if not."""
    if len(set(digests)) != 1:
        raise RuntimeError("a download does not match the image's hash")
    return "sha512 verified"


def size(count: float) -> str:
    """Return bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def farewell(upstream: Server, node: Server) -> None:
    """Say what to try next."""
    images = json.loads(ask(node, "GET", "/v2/images?name=demo"))["images"]
    path = f"{node.url}/v2/images/{images[0]['id']}/file"
    disk_format = images[0]["disk_format"]
    source = json.dumps(
        {
            "driver": disk_format,
            "file": {"driver": "http", "url": path, "timeout": 600},
        }
    )
    print(
        f"""
  Everything goes on serving. Try:
    curl -o copy.img {path}
    curl -r 1048576-2097151 -o part.img {path}
    openstack --os-auth-type none --os-endpoint {node.url} image list
    qemu-img info 'json:{source}'
    curl -s {node.metrics_url} | grep ^cacheproxy_
  Logs: {upstream.log} {node.log}.  Ctrl-C stops catalog and proxy.
""",
        flush=True,
    )


def wait_for_interrupt(*services: Server) -> None:
    """Wait for Ctrl-C, or for the end of a daemon."""
    while True:
        for service in services:
            if service.ended():
                raise RuntimeError(f"the {service.name} ended; see {service.log}")
        time.sleep(0.5)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
