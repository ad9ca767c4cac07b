"""Glance's rules: names, what they ask for, and what they asked for before 2021 (or 2025.1).

Facts of Glance 33 (2026.1); the words are ours.  Where an operator sets `enforce_new_defaults` to
false, what was asked for before is enough too.
"""

from __future__ import annotations

from dataclasses import dataclass

_MEMBER = "role:member and project_id:%(project_id)s"
_READER = "role:reader and project_id:%(project_id)s"
_SHARED_WITH = "project_id:%(member_id)s"
_MAY_SEE = (
    f"(project_id:%(project_id)s or {_SHARED_WITH} or 'community':%(visibility)s"
    " or 'public':%(visibility)s or 'shared':%(visibility)s)"
)
_ADMIN = "rule:context_is_admin"
_SERVICE = "rule:service_api"
_ANYBODY = "rule:default"
_MAY_SEE_NAMESPACE = "role:reader and (project_id:%(project_id)s or 'public':%(visibility)s)"
_METADEF_ADMIN = "rule:metadef_admin"
_METADEF_ANYBODY = "rule:metadef_default"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `before` is what it asked for earlier, where that was something else."""

    name: str
    check: str
    before: str | None
    meaning: str
    project_only: bool = True  # tokens for a domain or the whole cloud are refused


def _metadefs(reading: str, changing: str, what: str) -> tuple[Rule, ...]:
    """Rules of one kind of metadata definitions: names, each with what it lets do."""
    return (
        *(
            Rule(name, f"{_ADMIN} or ({_MAY_SEE_NAMESPACE})", _METADEF_ANYBODY, f"{does} {what}")
            for does, name in (pair.split(": ") for pair in reading.split(", "))
        ),
        *(
            Rule(name, _METADEF_ADMIN, None, f"{does} {what}")
            for does, name in (pair.split(": ") for pair in changing.split(", "))
        ),
    )


RULES = (
    Rule("default", "", _ADMIN, "rules of a policy file that are not listed here", False),
    Rule("context_is_admin", "role:admin", None, "who is an administrator", False),
    Rule("service_api", "role:service or role:admin", None, "who is a service", False),
    Rule(
        "add_image",
        f"{_ADMIN} or ({_MEMBER} and project_id:%(owner)s)",
        _ANYBODY,
        "create an image",
    ),
    Rule("delete_image", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "delete an image"),
    Rule("get_image", f"{_ADMIN} or (role:reader and {_MAY_SEE})", _ANYBODY, "read a record"),
    Rule("get_images", f"{_ADMIN} or ({_READER})", _ANYBODY, "list images"),
    Rule("modify_image", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "change a record, tag an image"),
    Rule("publicize_image", _ADMIN, None, "make an image public"),
    Rule("communitize_image", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "make a community image"),
    Rule(
        "download_image",
        f"{_ADMIN} or (role:member and {_MAY_SEE})",
        _ANYBODY,
        "download data, read a manifest",
    ),
    Rule(
        "download_from_store",
        f"{_ADMIN} or (role:member and {_MAY_SEE})",
        None,
        "choose the store of a download",
    ),
    Rule("upload_image", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "upload data"),
    Rule("delete_image_location", _ADMIN, _ANYBODY, "take data out of a store"),
    Rule("get_image_location", f"{_ADMIN} or ({_READER})", _ANYBODY, "the same, beside that"),
    Rule("set_image_location", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "set locations by PATCH"),
    Rule(
        "add_image_location",
        f"{_SERVICE} or ({_MEMBER} and project_id:%(owner)s)",
        None,
        "add a location",
    ),
    Rule("fetch_image_location", _SERVICE, None, "read locations"),
    Rule("add_member", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "share an image"),
    Rule("delete_member", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "no longer share it"),
    Rule(
        "get_member",
        f"{_ADMIN} or role:reader and (project_id:%(project_id)s or {_SHARED_WITH})",
        _ANYBODY,
        "read a membership",
    ),
    Rule(
        "get_members",
        f"{_ADMIN} or role:reader and (project_id:%(project_id)s or {_SHARED_WITH})",
        _ANYBODY,
        "list members",
    ),
    Rule(
        "modify_member",
        f"{_ADMIN} or (role:member and {_SHARED_WITH})",
        _ANYBODY,
        "accept or reject an image",
    ),
    Rule("deactivate", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "deactivate an image"),
    Rule("reactivate", f"{_ADMIN} or ({_MEMBER})", _ANYBODY, "reactivate an image"),
    Rule("copy_image", _ADMIN, None, "copy data to other stores"),
    Rule("stores_info_detail", f"{_ADMIN} or {_SERVICE}", _ADMIN, "how stores are configured"),
    Rule("manage_image_cache", _ADMIN, None, "manage a cache; below, in detail"),
    Rule("cache_image", _ADMIN, "rule:manage_image_cache", "queue an image for caching"),
    Rule("cache_list", _ADMIN, "rule:manage_image_cache", "list what is cached"),
    Rule("cache_delete", _ADMIN, "rule:manage_image_cache", "remove from a cache"),
    Rule("cache_clean", _ADMIN, None, "remove what is broken from a cache"),
    Rule("cache_prune", _ADMIN, None, "remove what is too much from a cache"),
    Rule("list_cached_nodes", _ADMIN, None, "which nodes have cached an image"),
    Rule("tasks_api_access", _ADMIN, None, "the API of tasks"),
    Rule("get_task", _ANYBODY, None, "read a task, for whom the rule above lets"),
    Rule("get_tasks", _ANYBODY, None, "list tasks, likewise"),
    Rule("add_task", _ANYBODY, None, "make a task, likewise"),
    Rule("modify_task", _ANYBODY, None, "nothing any more"),
    Rule("find_content", _ADMIN, None, "find images by their content; not Glance's"),
    Rule("metadef_default", "", None, "who read metadata definitions, before", False),
    Rule("metadef_admin", _ADMIN, None, "who changes metadata definitions", False),
    Rule(
        "get_metadef_namespaces",
        f"{_ADMIN} or ({_READER})",
        _METADEF_ANYBODY,
        "list namespaces of metadata definitions",
    ),
    *_metadefs(
        "read: get_metadef_namespace",
        "add: add_metadef_namespace, change: modify_metadef_namespace, delete: delete_metadef_namespace",
        "a namespace",
    ),
    *_metadefs(
        "list: get_metadef_objects, read: get_metadef_object",
        "add: add_metadef_object, change: modify_metadef_object, delete: delete_metadef_object",
        "objects of a namespace",
    ),
    *_metadefs(
        "list: get_metadef_properties, read: get_metadef_property",
        "add: add_metadef_property, change: modify_metadef_property, delete: remove_metadef_property",
        "properties of a namespace",
    ),
    *_metadefs(
        "list: get_metadef_tags, read: get_metadef_tag",
        "add: add_metadef_tag, add several: add_metadef_tags, change: modify_metadef_tag, "
        "delete: delete_metadef_tag, delete all: delete_metadef_tags",
        "tags of a namespace",
    ),
    *_metadefs(
        "list: list_metadef_resource_types, read: get_metadef_resource_type",
        "add: add_metadef_resource_type_association, delete: remove_metadef_resource_type_association",
        "associations of resource types",
    ),
)
