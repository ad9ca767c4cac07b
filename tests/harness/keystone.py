"""The real Keystone, with a few users."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.http import Answer, ask
from harness.services import free_url, python_of, run_tool, seed, served

ADMIN_PASSWORD = "secret"

CONFIGURATION = """
[database]
connection = sqlite:///{directory}/keystone.db
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {directory}/fernet-keys
[fernet_receipts]
key_repository = {directory}/fernet-keys
[credential]
key_repository = {directory}/credential-keys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may ask for tokens; the name is the password, but for the administrator."""

    name: str
    project: str
    roles: tuple[str, ...]

    @property
    def password(self) -> str:
        """Return the password."""
        return ADMIN_PASSWORD if self.name == "admin" else self.name


ADMIN = User("admin", "admin", ("admin",))  # made by Keystone's own bootstrap
GLANCE = User("glance", "service", ("admin", "service"))
MEMBER = User("member", "demo", ("member", "reader"))
READER = User("reader", "demo", ("reader",))
STRANGER = User("stranger", "elsewhere", ("member", "reader"))
PARTNER = User("partner", "partners", ("member", "reader"))
SEEDED = (GLANCE, MEMBER, READER, STRANGER, PARTNER)

# Keystone issues no token that has expired; its own code, with its own keys, writes one.
EXPIRED = """
import datetime, sys
import keystone.conf
from keystone.token import token_formatters
keystone.conf.configure()
keystone.conf.CONF(["--config-file", sys.argv[1]], project="keystone")
seconds = datetime.timedelta(seconds=int(sys.argv[4]))
ended = datetime.datetime.now(datetime.timezone.utc) + seconds
print(token_formatters.TokenFormatter().create_token(
    sys.argv[2], ended.strftime("%Y-%m-%dT%H:%M:%S.000000Z"), ["{audit}"],
    token_formatters.ProjectScopedPayload, methods=["password"], project_id=sys.argv[3],
))
"""


@dataclass(frozen=True, slots=True)
class Keystone:
    """A running Keystone with the users above; `url` ends in /v3."""

    url: str
    directory: Path

    def token(self, user: User) -> str:
        """Return a token of this user, always the same one."""
        return _token(self.url, user)

    def new_token(self, user: User) -> str:
        """Return a token that nobody else has."""
        return _log_in(self.url, user).headers["x-subject-token"]

    def project_id(self, user: User) -> str:
        """Return the id of a user's project."""
        return str(_log_in(self.url, user).json()["token"]["project"]["id"])

    def expired_token(self, user: User) -> str:
        """Return a token of this user that expired an hour ago, another one each time."""
        return self.ending_token(user, -3600)

    def ending_token(self, user: User, seconds: int) -> str:
        """Return a token of this user that expires in so many seconds, another one each time."""
        known = _log_in(self.url, user).json()["token"]
        # Sixteen bytes, so that no two are equal.
        audit = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        configuration = self.directory / "keystone.conf"
        return run_tool(
            *(python_of("keystone"), "-W", "ignore", "-c", EXPIRED.format(audit=audit)),
            *(configuration, known["user"]["id"], known["project"]["id"], str(seconds)),
        ).strip()

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        headers = {"X-Auth-Token": self.token(ADMIN), "X-Subject-Token": token}
        ask("DELETE", f"{self.url}/auth/tokens", headers=headers).expect(204)

    def environment(self, user: User) -> dict[str, str]:
        """Return the variables by which the clients log in."""
        return {
            "OS_AUTH_URL": self.url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": user.name,
            "OS_PASSWORD": user.password,
            "OS_PROJECT_NAME": user.project,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_REGION_NAME": "RegionOne",
        }

    def call(self, method: str, path: str, document: Any = None) -> Answer:
        """Call Keystone as its administrator."""
        headers = {"X-Auth-Token": self.token(ADMIN)}
        return ask(method, self.url + path, headers=headers, document=document)

    def add_endpoint(self, kind: str, url: str) -> None:
        """Add a service and its endpoints to the catalog."""
        document: Any = {"service": {"type": kind, "name": kind}}
        service = self.call("POST", "/services", document).expect(201).json()["service"]["id"]
        for interface in ("public", "internal", "admin"):
            document = {
                "interface": interface,
                "url": url,
                "region": "RegionOne",
                "service_id": service,
            }
            self.call("POST", "/endpoints", {"endpoint": document}).expect(201)

    def add_user(self, user: User) -> None:
        """Make a user, and what there is not of its project and roles; it may be there already."""
        projects = self.call("GET", f"/projects?name={user.project}").json()["projects"]
        if not projects:
            document: Any = {"project": {"name": user.project, "domain_id": "default"}}
            projects = [self.call("POST", "/projects", document).expect(201).json()["project"]]
        if self.call("GET", f"/users?name={user.name}").json()["users"]:
            return
        document = {"name": user.name, "password": user.password, "domain_id": "default"}
        identity = self.call("POST", "/users", {"user": document}).expect(201).json()["user"]
        roles = {role["name"]: role["id"] for role in self.call("GET", "/roles").json()["roles"]}
        for role in user.roles:
            if role not in roles:
                made = self.call("POST", "/roles", {"role": {"name": role}}).expect(201)
                roles[role] = made.json()["role"]["id"]
            path = f"/projects/{projects[0]['id']}/users/{identity['id']}/roles/{roles[role]}"
            self.call("PUT", path).expect(204)
        # Keystone writes down a user's first login of a day: two at once lock its database.
        _log_in(self.url, user)

    @contextmanager
    def naming(self, kind: str, url: str) -> Iterator[None]:
        """Let the catalog name this URL for a service, and then again what it named before."""
        endpoints = self.call("GET", "/endpoints").json()["endpoints"]
        services = self.call("GET", f"/services?type={kind}").json()["services"]
        ids = [service["id"] for service in services]
        before = {each["id"]: each["url"] for each in endpoints if each["service_id"] in ids}
        if not before:
            self.add_endpoint(kind, url)
        self._move(dict.fromkeys(before, url))
        try:
            yield
        finally:
            self._move(before)

    def _move(self, urls: dict[str, str]) -> None:
        for endpoint, url in urls.items():
            self.call("PATCH", f"/endpoints/{endpoint}", {"endpoint": {"url": url}}).expect(200)


@cache
def _token(url: str, user: User) -> str:
    return _log_in(url, user).headers["x-subject-token"]


def _log_in(url: str, user: User) -> Answer:
    domain = {"id": "default"}
    password = {"user": {"name": user.name, "domain": domain, "password": user.password}}
    identity = {"methods": ["password"], "password": password}
    scope = {"project": {"name": user.project, "domain": domain}}
    document = {"auth": {"identity": identity, "scope": scope}}
    return ask("POST", f"{url}/auth/tokens", document=document).expect(201)


def _make(directory: Path) -> None:
    tool = python_of("keystone").with_name("keystone-manage")
    configuration = directory / "keystone.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory))
    for repository in ("fernet-keys", "credential-keys"):
        (directory / repository).mkdir(mode=0o700)
        for number in ("0", "1"):  # the staged key and the primary one
            key = base64.urlsafe_b64encode(secrets.token_bytes(32))
            (directory / repository / number).write_bytes(key)
    run_tool(tool, "--config-file", configuration, "db_sync")
    run_tool(
        *(tool, "--config-file", configuration, "bootstrap"),
        *("--bootstrap-password", ADMIN_PASSWORD, "--bootstrap-region-id", "RegionOne"),
    )


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """Run Keystone for the whole test run."""
    python_of("keystone")
    with running_keystone(tmp_path_factory.mktemp("keystone")) as running:
        yield running


@contextmanager
def running_keystone(directory: Path, users: Sequence[User] = SEEDED) -> Iterator[Keystone]:
    """Run Keystone with its administrator and these users, with its files in `directory`."""
    seed("keystone", directory, _make)
    (directory / "keystone.conf").write_text(CONFIGURATION.format(directory=directory))
    url, port = free_url()
    environment = {
        "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
        "OS_KEYSTONE_CONFIG_DIR": str(directory),
    }
    with served("keystone", "keystone.wsgi.api:application", directory, port, environment):
        running = Keystone(f"{url}/v3", directory)
        for user in users:
            running.add_user(user)
        running.add_endpoint("identity", running.url)
        yield running
