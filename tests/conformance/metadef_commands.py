"""Every command of OpenStack's clients about metadata definitions, in stories: what is typed, by whom.

As in `glance_commands`; {image} is a name that nobody else has.  Lists of all sides' namespaces show
what other tests have made, too.
"""

from __future__ import annotations

GLANCE: dict[str, str] = {
    "namespaces": """
        admin: md-namespace-create {image} --display-name Shown --visibility public --owner {member}
        admin: md-namespace-create {image}
        md-namespace-create {other}
        md-namespace-show {image}
        stranger: md-namespace-show {image}
        ~ md-namespace-list --visibility public --page-size 2
        ~ md-namespace-list --resource-types OS::Nova::Flavor
        admin: md-namespace-update {image} --description new --visibility private --protected True
        stranger: md-namespace-show {image}
        admin: md-namespace-delete {image}
        md-namespace-update {image} --protected False
        admin: md-namespace-update {image} --protected False
        admin: md-namespace-delete {image}
        admin: md-namespace-import --file {definitions}
        md-namespace-show {image} --resource-type OS::Nova::Flavor
        admin: md-namespace-delete {image}
        md-namespace-show {image}
    """,
    "objects": """
        admin: md-namespace-create {image} --visibility public
        admin: md-object-create {image} --name o --schema '{{"properties": {{"p": {{"title": "P", "type": "string", "default": "x"}}}}, "required": ["p"]}}'
        admin: md-object-create {image} --name o --schema '{{}}'
        admin: md-object-create {image} --name q --schema '{{"properties": {{"p": {{}}}}}}'
        md-object-create {image} --name q --schema '{{}}'
        md-object-list {image}
        md-object-show {image} o
        md-object-property-show {image} o p
        admin: md-object-update {image} o --name n --schema '{{"description": "new"}}'
        md-object-show {image} o
        md-object-show {image} n
        admin: md-object-delete {image} absent
        admin: md-object-delete {image} n
        admin: md-namespace-objects-delete {image}
        admin: md-namespace-delete {image}
    """,
    "properties": """
        admin: md-namespace-create {image} --visibility public
        admin: md-property-create {image} --name p --title P --type integer --schema '{{"minimum": 1}}'
        admin: md-property-create {image} --name p --title P --type integer --schema '{{}}'
        admin: md-property-create {image} --name q --title P --type nothing --schema '{{}}'
        md-property-list {image}
        md-property-show {image} p
        admin: md-property-update {image} p --name n --title New --schema '{{"type": "string"}}'
        md-property-show {image} p
        md-property-show {image} n
        admin: md-property-delete {image} p
        admin: md-property-delete {image} n
        admin: md-namespace-properties-delete {image}
        md-namespace-properties-delete {image}
        admin: md-namespace-delete {image}
    """,
    "tags and resource types": """
        admin: md-namespace-create {image} --visibility public
        admin: md-tag-create {image} --name a
        admin: md-tag-create {image} --name a
        admin: md-tag-create-multiple {image} --names b,c --delim ,
        admin: md-tag-create-multiple {image} --names d --append
        md-tag-list {image} --sort name:asc
        md-tag-show {image} c
        admin: md-tag-update {image} c --name e
        md-tag-show {image} c
        admin: md-tag-delete {image} e
        admin: md-namespace-tags-delete {image}
        md-tag-list {image}
        admin: md-resource-type-associate {image} --name OS::Nova::Flavor --prefix hw:
        admin: md-resource-type-associate {image} --name OS::Nova::Flavor
        md-namespace-resource-type-list {image}
        ~ md-resource-type-list
        admin: md-resource-type-deassociate {image} OS::Nova::Flavor
        admin: md-resource-type-deassociate {image} OS::Nova::Flavor
        admin: md-namespace-delete {image}
    """,
}
_CREATE = "admin: image metadef namespace create {image} --public -f json"
_DELETE = "admin: image metadef namespace delete {image}"
OPENSTACK: dict[str, str] = {
    "namespaces": f"""
        {_CREATE} --display-name Shown --description about --unprotected
        {_CREATE}
        image metadef namespace create {{other}}
        ~ image metadef namespace list --visibility public -f json
        image metadef namespace show {{image}} -f json
        admin: image metadef namespace set {{image}} --private --protected --tag a --tag b
        stranger: image metadef namespace show {{image}} -f json
        {_DELETE}
        admin: image metadef namespace set {{image}} --public --unprotected
        admin: image metadef namespace unset {{image}} --tag a
        image metadef namespace show {{image}} -f json
        admin: image metadef namespace unset {{image}} --all-tags
        {_DELETE}
        {_DELETE}
    """,
    "what they have": f"""
        {_CREATE}
        admin: image metadef object create o --namespace {{image}} -f json
        image metadef object list {{image}} -f json
        image metadef object show {{image}} o -f json
        image metadef object property show {{image}} o p -f json
        admin: image metadef object update {{image}} o --name n
        image metadef object show {{image}} o -f json
        admin: image metadef object delete {{image}} n
        admin: image metadef property create {{image}} --name p --title P --type string --schema '{{{{}}}}' -f json
        image metadef property create {{image}} --name q --title P --type string --schema '{{{{}}}}' -f json
        image metadef property list {{image}} -f json
        admin: image metadef property set {{image}} p --title New
        image metadef property show {{image}} p -f json
        admin: image metadef property delete {{image}} p
        admin: image metadef resource type association create {{image}} OS::Nova::Flavor -f json
        admin: image metadef resource type association create {{image}} OS::Nova::Flavor -f json
        image metadef resource type association list {{image}} -f json
        ~ image metadef resource type list -f json
        admin: image metadef resource type association delete {{image}} OS::Nova::Flavor
        {_DELETE}
    """,
}
