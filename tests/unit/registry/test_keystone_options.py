"""`[keystone_authtoken]`, `[oslo_policy]` and the flavor, as operators have them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from registry.config import Authentication, load_settings
from registry.errors import ConfigError
from registry.keystone.options import KeystoneSettings
from registry.policy.options import PolicySettings

# The section of the installation guide.
GUIDE = """\
[keystone_authtoken]
www_authenticate_uri  = http://controller:5000
auth_url = http://controller:5000
memcached_servers = controller:11211
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = glance
password = GLANCE_PASS

[paste_deploy]
flavor = keystone
"""


def load(tmp_path: Path, text: str) -> Authentication | None:
    file = tmp_path / "glance-api.conf"
    file.write_text(text)
    return load_settings([file]).authentication


def test_the_installation_guides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert load(tmp_path, GUIDE) == Authentication(
            KeystoneSettings(
                "http://controller:5000",
                www_authenticate_uri="http://controller:5000",
                memcached_servers=("controller:11211",),
                login={
                    "username": "glance",
                    "password": "GLANCE_PASS",
                    "user_domain_name": "Default",
                    "project_name": "service",
                    "project_domain_name": "Default",
                },
            ),
            PolicySettings(beside=(tmp_path / "glance-api.conf",)),
        )
    assert caplog.messages == []


def test_everything_said(tmp_path: Path) -> None:
    text = """\
[keystone_authtoken]
auth_uri = http://public  # as it was called before
auth_url = https://private/v3/
auth_plugin = v3applicationcredential
application_credential_id = id
application_credential_secret = secret
interface = public
region_name = RegionOne
cafile = /ca
certfile = /cert
keyfile = /key
insecure = true
http_connect_timeout = 5
http_request_max_retries = 0
token_cache_time = -1
service_token_roles = Service, admin
service_token_roles_required = false
service_type = image
delay_auth_decision = true
include_service_catalog = false
auth_version = v3
[oslo_policy]
policy_file = rules.json
policy_dirs = one
policy_dirs = two
policy_default_rule = other
enforce_new_defaults = false
enforce_scope = true
[paste_deploy]
flavor = keystone+cachemanagement
"""
    assert load(tmp_path, text.replace("  # as it was called before", "")) == Authentication(
        KeystoneSettings(
            "https://private/v3",
            "v3applicationcredential",
            {"application_credential_id": "id", "application_credential_secret": "secret"},
            www_authenticate_uri="http://public",
            interface="public",
            region="RegionOne",
            cafile=Path("/ca"),
            certfile=Path("/cert"),
            keyfile=Path("/key"),
            insecure=True,
            request_seconds=5,
            retries=0,
            cache_seconds=-1,
            service_roles=frozenset({"service", "admin"}),
            service_roles_required=False,
            service_type="image",
        ),
        PolicySettings(
            file="rules.json",
            directories=("one", "two"),
            default_rule="other",
            new_defaults=False,
            beside=(tmp_path / "glance-api.conf",),
        ),
    )


def test_names_of_before_are_known_and_others_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = GUIDE.replace("username", "user_name").replace("project_name", "tenant_name")
    with caplog.at_level(logging.INFO, "registry"):
        found = load(tmp_path, text + "[keystone_authtoken]\nmemcache_secret_key = sesame\n")
    assert found is not None
    assert found.keystone.login["username"] == "glance"
    assert found.keystone.login["project_name"] == "service"
    assert caplog.messages[0].endswith("ignored: [keystone_authtoken] memcache_secret_key")
    assert "sesame" not in caplog.text


@pytest.mark.parametrize("flavor", ["", "caching", "cachemanagement"])
def test_without_the_flavor_everybody_is_served(tmp_path: Path, flavor: str) -> None:
    assert load(tmp_path, GUIDE.replace("flavor = keystone", f"flavor = {flavor}")) is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("auth_url = http://controller:5000\n", "auth_url"),
        ("username = glance\n", "username or user_id"),
        ("password = GLANCE_PASS\n", "needs password"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load(tmp_path, GUIDE.replace(line, ""))
    assert "GLANCE_PASS" not in str(caught.value)


def test_other_ways_to_log_in_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="v3kerberos is not one of password"):
        load(tmp_path, GUIDE.replace("auth_type = password", "auth_type = v3kerberos"))
    with pytest.raises(ConfigError, match="application_credential_id or"):
        load(tmp_path, GUIDE.replace("= password\n", "= v3applicationcredential\n"))


def test_nothing_shows_the_password(tmp_path: Path) -> None:
    assert "GLANCE_PASS" not in repr(load(tmp_path, GUIDE))
