"""Keystone's unified limits, for catalogs under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.http import ask
from harness.images_api import ImagesApi
from harness.keystone import GLANCE, Keystone, User

LIMITS = "image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"
SERVICE = "image-limited"
WITH_LIMITS = """
[DEFAULT]
use_keystone_limits = true
[oslo_limit]
auth_url = {keystone}
auth_type = password
username = glance
password = glance
user_domain_id = default
system_scope = all
endpoint_id = {endpoint}
"""


@dataclass(frozen=True, slots=True)
class Limited:
    """Keystone with registered limits, of which there is none but for projects that have their own."""

    keystone: Keystone
    endpoint: str  # its id
    service: str

    def user(self, name: str, **limits: int) -> User:
        """Make a user with a project of its own, which has these limits."""
        user = User(name, f"project-of-{name}", ("member", "reader"))
        self.keystone.add_user(user)
        project = self.keystone.project_id(user)
        wanted = [
            {
                "project_id": project,
                "service_id": self.service,
                "region_id": "RegionOne",
                "resource_name": resource,
                "resource_limit": limit,
            }
            for resource, limit in limits.items()
        ]
        self.keystone.call("POST", "/limits", {"limits": wanted}).expect(201)
        return user

    def api(self, url: str, user: User) -> ImagesApi:
        """Return the Images API of an endpoint as a user calls it."""
        headers = {"X-Auth-Token": self.keystone.token(user), "Accept": "application/json"}
        return ImagesApi(url, headers)

    def usage(self, url: str, user: User) -> Mapping[str, Any]:
        """Return what an endpoint says that a user's project uses."""
        answer = ask("GET", f"{url}/v2/info/usage", headers=self.api(url, user).headers)
        found: Mapping[str, Any] = answer.expect(200).json()["usage"]
        return found


def register(keystone: Keystone) -> Limited:
    """Register limits of -1 for a service of their own, which the user glance may read."""
    keystone.add_endpoint(SERVICE, "http://192.0.2.1:9292")
    services = keystone.call("GET", f"/services?type={SERVICE}").json()["services"]
    service = str(services[0]["id"])
    found = keystone.call("GET", f"/endpoints?service_id={service}&interface=public").json()
    registered = [
        {
            "service_id": service,
            "region_id": "RegionOne",
            "resource_name": resource,
            "default_limit": -1,
        }
        for resource in LIMITS
    ]
    keystone.call("POST", "/registered_limits", {"registered_limits": registered}).expect(201)
    user = keystone.call("GET", f"/users?name={GLANCE.name}").json()["users"][0]["id"]
    role = keystone.call("GET", "/roles?name=reader").json()["roles"][0]["id"]
    keystone.call("PUT", f"/system/users/{user}/roles/{role}").expect(204)
    return Limited(keystone, str(found["endpoints"][0]["id"]), service)
