"""The four kinds of things that a namespace has, and what each is called where.

They differ in names, rules and contents alone: whatever is done to one is done to all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.  Rules are Glance's; `change_rule` is None where nothing can be changed."""

    name: str  # in the database, and of events
    plural: str  # in paths
    title: str  # in refusals
    list_rule: str
    show_rule: str
    add_rule: str
    change_rule: str | None
    remove_rule: str

    @property
    def clear_rules(self) -> tuple[str, ...]:
        """What is asked before all of them are removed."""
        more = ("delete_metadef_tags",) if self is TAG else ()
        return ("delete_metadef_namespace", *more)


OBJECT = Kind(
    "object",
    "objects",
    "object",
    list_rule="get_metadef_objects",
    show_rule="get_metadef_object",
    add_rule="add_metadef_object",
    change_rule="modify_metadef_object",
    remove_rule="delete_metadef_object",
)
PROPERTY = Kind(
    "property",
    "properties",
    "property",
    list_rule="get_metadef_properties",
    show_rule="get_metadef_property",
    add_rule="add_metadef_property",
    change_rule="modify_metadef_property",
    remove_rule="remove_metadef_property",
)
TAG = Kind(
    "tag",
    "tags",
    "tag",
    list_rule="get_metadef_tags",
    show_rule="get_metadef_tag",
    add_rule="add_metadef_tag",
    change_rule="modify_metadef_tag",
    remove_rule="delete_metadef_tag",
)
RESOURCE_TYPE = Kind(
    "resource_type",
    "resource_types",
    "resource type association",
    list_rule="list_metadef_resource_types",
    show_rule="get_metadef_resource_type",
    add_rule="add_metadef_resource_type_association",
    change_rule=None,
    remove_rule="remove_metadef_resource_type_association",
)

# In the order in which a new namespace's are made, and told of.
KINDS = (RESOURCE_TYPE, OBJECT, TAG, PROPERTY)
KIND_OF = {kind.name: kind for kind in KINDS}
