"""Two instances behind the real nginx and HAProxy, with TLS, configured as the samples in `docs` say."""

from __future__ import annotations

import hashlib
import http.client
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.authority import Authority
from harness.catalog import Catalog
from harness.haproxy import HAProxy, running_haproxy
from harness.http import ask, connected
from harness.images_api import ImagesApi
from harness.instances import running_instance
from harness.nginx import Nginx, balancing
from harness.waiting import until

BALANCERS = ("nginx", "haproxy")
MIB = 1 << 20
DATA = bytes(range(256)) * 4096 * 8  # 8 MiB: more than they would let through unasked
LARGE = DATA * 8  # more than sockets hold
HALF = len(DATA) // 2
OCTETS = "application/octet-stream"
MORE = """
[oslo_middleware]
enable_proxy_headers_parsing = true
[cacheproxy]
upload_lease_seconds = 1
janitor_interval_seconds = 1
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A balancer, and who is behind it."""

    url: str
    plain_url: str
    directory: Path  # the balancer's own
    images: Path
    instances: tuple[Catalog, ...]

    def kept(self) -> list[Path]:
        """Return the bodies that it has written down."""
        return [path for path in self.directory.glob("*/**/*") if path.is_file()]

    def written(self) -> int:
        """Return how much of uploads the instances have written, into files without names."""
        return sum(
            descriptor.stat().st_size
            for each in self.instances
            for descriptor in Path(f"/proc/{each.program.process.pid}/fd").iterdir()
            if descriptor.readlink().is_relative_to(self.images)
        )

    def serving(self) -> Catalog:
        """Return the instance that answers the one request that is under way."""

        def found() -> list[Catalog]:
            return [each for each in self.instances if _is_connected(each)]

        (one,) = until("the request", found)
        return one


def _is_connected(catalog: Catalog) -> bool:
    port = int(catalog.url.rpartition(":")[2])
    process = psutil.Process(catalog.program.process.pid)
    return any(
        each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in process.net_connections()
    )


@contextmanager
def running_front(directory: Path, balancer: str) -> Iterator[Front]:
    authority = Authority(directory)
    with ExitStack() as stack:
        # It is read whenever a client connects.
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setenv("SSL_CERT_FILE", str(authority.cafile))
        instances = tuple(
            stack.enter_context(running_instance(directory, name, MORE)) for name in ("one", "two")
        )
        own = directory / balancer
        own.mkdir()
        urls = [each.url for each in instances]
        running: Nginx | HAProxy
        if balancer == "nginx":
            running = stack.enter_context(balancing(own, urls, *authority.files()))
        else:
            ports = [int(url.rpartition(":")[2]) for url in urls]
            running = stack.enter_context(running_haproxy(own, ports, authority.together()))
        yield Front(running.url, running.plain_url, own, directory / "images", instances)


@pytest.fixture(scope="module", params=BALANCERS)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Run what all of these tests may ask, and none harms."""
    with running_front(tmp_path_factory.mktemp("front"), request.param) as running:
        yield running


@pytest.fixture(params=BALANCERS)
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    """Run what a test may kill."""
    with running_front(tmp_path, request.param) as running:
        yield running


def kill(catalog: Catalog) -> None:
    catalog.program.process.send_signal(signal.SIGKILL)
    catalog.program.process.wait()


@contextmanager
def half_sent(
    front: Front, image: str, *, expects: bool = False
) -> Iterator[http.client.HTTPConnection]:
    """Begin an upload of DATA, and send half of it."""
    with closing(connected(front.url)) as sent:
        sent.putrequest("PUT", f"/v2/images/{image}/file")
        sent.putheader("Content-Type", OCTETS)
        sent.putheader("Content-Length", str(len(DATA)))
        if expects:
            sent.putheader("Expect", "100-continue")
        sent.endheaders(DATA[:HALF])
        yield sent


def test_data_goes_through_in_any_form(front: Front) -> None:
    api = ImagesApi(front.url)
    told, chunked = api.add(DATA), api.create()
    api.upload(chunked, (DATA[at : at + MIB] for at in range(0, len(DATA), MIB)))
    for image in (told, chunked):
        record = api.show(image)
        assert record["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
        answer = api.download(image)
        assert (answer.body, answer.headers["content-length"]) == (DATA, str(len(DATA)))
        part = api.download(image, f"{MIB}-{2 * MIB - 1}").expect(206)
        assert part.body == DATA[MIB : 2 * MIB]
        assert part.headers["content-range"] == f"bytes {MIB}-{2 * MIB - 1}/{len(DATA)}"
        assert api.download(image, "-5").expect(206).body == DATA[-5:]
        api.download(image, f"{len(DATA)}-").expect(416)
        head = api.call("HEAD", f"/{image}/file").expect(200)
        assert (head.headers["content-length"], head.body) == (str(len(DATA)), b"")
        assert head.headers["accept-ranges"] == "bytes"
    assert front.kept() == []


def test_bytes_arrive_while_others_are_still_to_come(front: Front) -> None:
    api = ImagesApi(front.url)
    image = api.create()
    with half_sent(front, image, expects=True) as sent:
        # Half of the body is in the store, so nobody on the way waits for the rest of it.
        until("half of it", lambda: front.written() >= HALF - MIB)
        assert front.kept() == []
        sent.send(DATA[HALF:])
        assert sent.getresponse().status == 204
    assert api.download(image).body == DATA


def use(api: ImagesApi, kept: str) -> None:
    """Ask for something of each kind."""
    image = api.create()  # POST, which no proxy repeats once it was sent
    api.upload(image, iter([DATA[:MIB], DATA[MIB:]]))
    patch = [{"op": "add", "path": "/k", "value": "v"}]
    media = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    api.call("PATCH", f"/{image}", headers=media, document=patch).expect(200)
    assert api.download(kept, "0-99").expect(206).body == DATA[:100]
    api.delete(image)


@pytest.mark.parametrize("number", [0, 1])
def test_an_instance_that_goes_costs_nobody_anything(mortal: Front, number: int) -> None:
    api = ImagesApi(mortal.url)
    kept = api.add(DATA)
    process = mortal.instances[number].program.process
    process.terminate()
    while process.poll() is None:  # it drains
        use(api, kept)
    assert process.returncode == 0
    for _ in range(4):
        use(api, kept)


def test_a_download_whose_instance_dies_is_short_and_never_wrong(
    mortal: Front,
) -> None:
    api = ImagesApi(mortal.url)
    image = api.add(LARGE)
    with closing(connected(mortal.url)) as one:
        one.request("GET", f"/v2/images/{image}/file")
        answer = one.getresponse()
        begun = answer.read(MIB)
        dead = mortal.serving()
        kill(dead)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)) as error:
            answer.read()
    come = begun + (
        error.value.partial if isinstance(error.value, http.client.IncompleteRead) else b""
    )
    assert LARGE.startswith(come)
    assert len(come) < len(LARGE)
    rest = api.download(image, f"{len(come)}-").expect(206)  # at the other one
    assert come + rest.body == LARGE
    dead.program.stop(codes=(-signal.SIGKILL,))


def test_an_upload_whose_instance_dies_is_not_sent_to_another(mortal: Front) -> None:
    api = ImagesApi(mortal.url)
    image = api.create()
    with half_sent(mortal, image) as sent:
        until("half of it", lambda: mortal.written() >= HALF - MIB)
        dead = mortal.serving()
        kill(dead)
        try:
            sent.send(DATA[HALF:])
            status = sent.getresponse().status
        except OSError:
            status = 502
    assert status == 502
    (alive,) = (each for each in mortal.instances if each is not dead)
    assert f"/v2/images/{image}/file" not in alive.program.log.read_text()
    until("the janitor", lambda: api.show(image)["status"] == "queued", 60)
    api.upload(image, DATA)
    assert api.download(image).body == DATA
    assert [path.name for path in mortal.images.rglob("*")] == [image]
    dead.program.stop(codes=(-signal.SIGKILL,))


def test_links_lead_to_the_balancer_whatever_clients_claim(front: Front) -> None:
    claims = {
        "Forwarded": "host=evil;proto=http",
        "X-Forwarded-Host": "evil",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Prefix": "/evil",
    }
    told = ask("GET", f"{front.url}/versions", headers=claims).expect(200).json()
    links = {link["href"] for version in told["versions"] for link in version["links"]}
    assert links == {f"{front.url}/v2/"}
    moved = ask("GET", f"{front.url}/v2", headers=claims).expect(302)
    assert moved.headers["location"] == f"{front.url}/v2/"
    images = [
        ask("POST", f"{front.url}/v2/images", headers=claims, document={}).expect(201)
        for _ in range(2)
    ]
    for image in images:
        assert image.headers["location"] == front.url + image.json()["self"]
    page = ask("GET", f"{front.url}/v2/images?limit=1", headers=claims).expect(200).json()
    for link in (page["next"], page["first"], page["schema"], page["images"][0]["file"]):
        assert link.startswith("/v2/")  # as Glance's: of the server that was asked


def test_without_tls_nothing_is_changed(front: Front) -> None:
    for method in ("GET", "HEAD"):
        moved = ask(method, f"{front.plain_url}/v2/images?limit=1").expect(301)
        assert moved.headers["location"] == f"{front.url}/v2/images?limit=1"
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        ask(method, f"{front.plain_url}/v2/images", body=b"").expect(403)
