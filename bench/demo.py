"""`make run`: a real image through catalog and proxy, from upload to hit, told as it happens.

Everything lives below `.run/` and on addresses of this machine; Ctrl-C stops all of it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1 << 20
HERE = Path(".run")
IMAGE_FILES = Path("/usr/share")  # real files for the image, where nobody names one
IMAGE_BYTES = 256 * MIB
FILES_BYTES_MAX = 160 * MIB
RANGES = 24
START_SECONDS = 60.0


@dataclass(frozen=True)
class Service:
    """A daemon that was started here."""

    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]


def main() -> int:
    """Run the story, then keep serving until Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has told us to ignore one
        signal.signal(number, signal.default_int_handler)
    HERE.mkdir(exist_ok=True)
    for old in ("cache", "images", "catalog.db"):
        remove(HERE / old)
    image = chosen_image()
    try:
        with catalog() as upstream, proxy(upstream.url) as node:
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


# --- the daemons ----------------------------------------------------------------------------------


@contextmanager
def catalog() -> Iterator[Service]:
    """Run the catalog on its embedded defaults."""
    port = free_port(9191)
    config = HERE / "catalog.conf"
    config.write_text(
        f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
[database]
connection = sqlite:///{HERE.resolve()}/catalog.db
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {HERE.resolve()}/images
"""
    )
    command = [sys.executable, "-m", "registry", "--config-file", str(config)]
    subprocess.run([*command, "db", "sync"], check=True)
    with daemon("catalog", [*command, "serve"], port) as service:
        yield service


@contextmanager
def proxy(upstream: str) -> Iterator[Service]:
    """Run the proxy in front of an upstream."""
    port = free_port(9292)
    metrics = free_port(9293)
    config = HERE / "cacheproxy.conf"
    config.write_text(
        f"""[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = 1
[upstream]
url = {upstream}
[cache]
directory = {HERE.resolve()}/cache
image_cache_size = 10737418240 # 10 GB cache size
[metrics]
bind_host = 127.0.0.1
bind_port = {metrics}
"""
    )
    command = [sys.executable, "-m", "cacheproxy", "serve", "--config-file", str(config)]
    with daemon("proxy", command, port) as service:
        Metrics.url = f"http://127.0.0.1:{metrics}/metrics"
        yield service


@contextmanager
def daemon(name: str, command: list[str], port: int) -> Iterator[Service]:
    """Run one until the story ends; its output goes to a log file."""
    log = HERE / f"{name}.log"
    with log.open("wb") as output:
        # In a group of its own: Ctrl-C is for us, and we end it in order.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    service = Service(name, f"http://127.0.0.1:{port}", log, process)
    try:
        wait_until_up(service, port)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(service: Service, port: int) -> None:
    """Wait until a daemon answers; RuntimeError with its own words if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/versions", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the {service.name} did not start:\n{service.log.read_text()[-2000:]}")


def free_port(wanted: int) -> int:
    """Return this port, or any other that is free."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = sock.getsockname()[1]
            return found
    raise RuntimeError("no free port")


# --- the story ------------------------------------------------------------------------------------


class Metrics:
    """The proxy's own counters, and what changed in them."""

    url = ""

    def __init__(self) -> None:
        self.before = self.read()

    @classmethod
    def read(cls) -> dict[str, float]:
        """Read them all."""
        with urllib.request.urlopen(cls.url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def told(self) -> str:
        """Say what the proxy did since: how it answered, and what it took from the upstream."""
        after = self.read()
        grown = {name: value - self.before.get(name, 0) for name, value in after.items()}
        results = [
            name.split('"')[1]
            for name, value in sorted(grown.items())
            if name.startswith("cacheproxy_requests_total{") and value
        ]
        fetched = size(grown["cacheproxy_upstream_bytes_total"])
        return f"{'+'.join(results):<8}{fetched:>11} from upstream"


def story(image: Path, upstream: Service, node: Service) -> None:
    """Upload, download cold and warm, by range, and twice at once."""
    total = image.stat().st_size
    print(f"\n  image    {image}, {size(total)}")
    print(f"  catalog  {upstream.url}  (SQLite and files below {HERE}/)")
    print(f"  proxy    {node.url}  (cache below {HERE}/cache, at most 10 GiB)")
    print(f"  metrics  {Metrics.url}\n")
    started = time.monotonic()
    first, expected = upload(node, image, "demo")
    line("upload through the proxy", total, started, "the catalog has hashed it")

    for name in ("cold download", "warm download"):
        metrics, started = Metrics(), time.monotonic()
        digest = download(node, first, name)
        line(name, total, started, f"{metrics.told()}   {verdict(digest, expected)}")

    metrics, started = Metrics(), time.monotonic()
    taken = random_ranges(node, first, image)
    line(f"{RANGES} random ranges", taken, started, f"{metrics.told()}   equal to the file")

    second, _ = upload(node, image, "demo again")
    metrics, started = Metrics(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        digests = set(pool.map(lambda _: download(node, second, None), range(2)))
    line(
        "two at once, cold image",
        2 * total,
        started,
        f"{metrics.told()}   {verdict(*digests, expected)}",
    )


def upload(node: Service, image: Path, name: str) -> tuple[str, str]:
    """Create an image and send its data; its id and its SHA-512."""
    with image.open("rb") as file:
        disk_format = "qcow2" if file.read(4) == b"QFI\xfb" else "raw"
    record = {"name": name, "disk_format": disk_format, "container_format": "bare"}
    answer = ask(node, "POST", "/v2/images", json.dumps(record).encode(), "application/json")
    image_id: str = json.loads(answer)["id"]
    with image.open("rb") as file:
        reading = progress(file.read, image.stat().st_size, f"upload {name}")
        ask(node, "PUT", f"/v2/images/{image_id}/file", reading, "application/octet-stream")
    shown = json.loads(ask(node, "GET", f"/v2/images/{image_id}"))
    return image_id, shown["os_hash_value"]


def download(node: Service, image_id: str, name: str | None) -> str:
    """Read all of an image; its SHA-512."""
    whole = hashlib.sha512()
    with answer_of(node, "GET", f"/v2/images/{image_id}/file") as answer:
        read: Callable[[int], bytes] = answer.read
        if name is not None:
            read = progress(read, int(answer.headers["Content-Length"]), name)
        while data := read(MIB):
            whole.update(data)
    return whole.hexdigest()


def random_ranges(node: Service, image_id: str, image: Path) -> int:
    """Compare some ranges with the file; how many bytes that were."""
    chosen, total, taken = random.Random(1), image.stat().st_size, 0
    with image.open("rb") as file:
        for _ in range(RANGES):
            start = chosen.randrange(total)
            stop = min(total, start + chosen.randrange(1, 3 * MIB))
            fields = {"Range": f"bytes={start}-{stop - 1}"}
            with answer_of(node, "GET", f"/v2/images/{image_id}/file", fields=fields) as answer:
                data = answer.read()
            file.seek(start)
            if data != file.read(stop - start):
                raise RuntimeError(f"bytes {start}-{stop - 1} are wrong")
            taken += len(data)
    return taken


@contextmanager
def answer_of(
    service: Service,
    method: str,
    path: str,
    body: object = None,
    fields: dict[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Ask, and give the answer; RuntimeError for a refusal."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    try:
        connection.request(method, path, body=body, headers=fields or {})  # type: ignore[arg-type]  # any iterable
        answer = connection.getresponse()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read(500).decode()}")
        yield answer
    finally:
        connection.close()


def ask(
    service: Service, method: str, path: str, body: object = None, kind: str | None = None
) -> bytes:
    """Ask, and return the whole answer."""
    fields = {"Content-Type": kind} if kind else {}
    if callable(body):
        read, fields["Transfer-Encoding"] = body, "chunked"
        body = chunked(iter(lambda: read(MIB), b""))
    with answer_of(service, method, path, body, fields) as answer:
        return answer.read()


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Frame a body of unknown length (RFC 9112 section 7.1)."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


# --- the page -------------------------------------------------------------------------------------


def progress(read: Callable[[int], bytes], total: int, name: str) -> Callable[[int], bytes]:
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


def farewell(upstream: Service, node: Service) -> None:
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
    curl -s {Metrics.url} | grep ^cacheproxy_
  Logs: {upstream.log} {node.log}.  Ctrl-C stops catalog and proxy.
""",
        flush=True,
    )


def wait_for_interrupt(*services: Service) -> None:
    """Wait for Ctrl-C, or for the end of a daemon."""
    while True:
        for service in services:
            if service.process.poll() is not None:
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
