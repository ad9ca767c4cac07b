"""Every command of python-glanceclient but those about metadata definitions: what is typed, by whom.

Lines begin with who types them, where that is not the member; {image} and {other} are images.
Behind a "~" is what is told in words of one's own.
"""

from __future__ import annotations

RAW = "--disk-format raw --container-format bare"
MADE = f"image-create --id {{image}} --name disk {RAW}"
FULL = f"{MADE} --file {{data}}"

COMMANDS: dict[str, str] = {
    "image-create": f"""
        {FULL} --property os_distro=none --tags a b --min-ram 5 --min-disk 1
        image-create --id {{other}} --name empty --visibility private --protected True --hidden True
        image-create --id {{image}} --name again
        image-create --disk-format floppy --container-format bare
        image-create --name x --owner {{stranger}}
        image-create --name x --visibility public
        admin: image-update --protected False {{other}}
    """,
    "image-upload": f"""
        {MADE}
        image-upload --file {{data}} --store slow {{image}}
        image-upload --file {{data}} {{image}}
        image-create --id {{other}} --name shapeless
        image-upload --file {{data}} {{other}}
        image-upload --file {{data}} --store nowhere {{other}}
    """,
    "image-download": f"""
        {FULL}
        image-download {{image}} --file {{to}}
        image-download {{image}}
        stranger: image-download {{image}}
        image-create --id {{other}} --name empty
        image-download {{other}}
        admin: image-download {{absent}}
    """,
    "image-show": f"""
        {FULL} --property empty= --visibility shared
        image-show {{image}}
        image-show --human-readable {{image}}
        image-show --max-column-width 40 {{image}}
        stranger: image-show {{image}}
        image-show {{absent}}
    """,
    "image-list": f"""
        {FULL} --property k={{image}} --tags {{image}}
        image-create --id {{other}} --name other --property k={{image}} --hidden True
        image-list --property-filter k={{image}}
        image-list --property-filter k={{image}} --hidden True
        image-list --property-filter k={{image}} --verbose
        -v image-list --property-filter k={{image}}
        image-list --tag {{image}} --include-stores
        image-list --tag {{image}} --visibility private
        image-list --tag {{image}} --owner {{member}} --sort name:asc,size:desc
        image-list --tag {{image}} --sort-key name --sort-dir asc --limit 1 --page-size 1
        image-list --tag {{image}} --checksum 5289df737df57326fcdd22597afb1fac
        image-list --tag {{image}} --hash 0
        image-list --tag {{image}} --sort nothing
        stranger: image-list --tag {{image}} --member-status all
    """,
    "image-update": f"""
        {MADE} --property a=1 --property b=2
        image-update --name new --property a=3 --remove-property b --min-disk 7 {{image}}
        image-update --visibility public {{image}}
        image-update --owner {{stranger}} {{image}}
        image-update --disk-format qcow2 --protected True --hidden True {{image}}
        image-update --property size=7 {{image}}
        image-update --remove-property nothing {{image}}
        image-delete {{image}}
        stranger: image-update --name mine {{image}}
        image-update --protected False {{image}}
        admin: image-update --visibility public --name everybodys {{image}}
        stranger: image-show {{image}}
        admin: image-update --visibility private --owner {{stranger}} {{image}}
        image-show {{image}}
    """,
    "image-delete": f"""
        {FULL}
        image-create --id {{other}} --name other
        stranger: image-delete {{image}}
        image-delete {{image}} {{absent}} {{other}}
        image-delete {{image}}
        image-create --id {{image}} --name again
    """,
    "image-deactivate": f"""
        {FULL}
        stranger: image-deactivate {{image}}
        image-deactivate {{image}}
        image-download {{image}}
        admin: image-download {{image}}
        image-create --id {{other}} --name empty
        image-deactivate {{other}}
    """,
    "image-reactivate": f"""
        {FULL}
        image-deactivate {{image}}
        stranger: image-reactivate {{image}}
        image-reactivate {{image}}
        image-reactivate {{image}}
        image-download {{image}}
    """,
    "image-tag-update": f"""
        {MADE} --tags a
        image-tag-update {{image}} b
        image-tag-update {{image}} 'a tag, with words'
        image-tag-update {{image}} b
        stranger: image-tag-update {{image}} c
    """,
    "image-tag-delete": f"""
        {MADE} --tags a b
        image-tag-delete {{image}} a
        image-tag-delete {{image}} a
    """,
    "member-create": f"""
        {FULL} --visibility shared
        member-create {{image}} {{stranger}}
        member-create {{image}} {{stranger}}
        stranger: member-create {{image}} {{member}}
        image-create --id {{other}} --name private --visibility private
        member-create {{other}} {{stranger}}
    """,
    "member-list": f"""
        {MADE} --visibility shared
        member-list --image-id {{image}}
        member-create {{image}} {{stranger}}
        member-create {{image}} {{partner}}
        ~ member-list --image-id {{image}}
        stranger: member-list --image-id {{image}}
    """,
    "member-get": f"""
        {MADE} --visibility shared
        member-create {{image}} {{stranger}}
        member-get {{image}} {{stranger}}
        stranger: member-get {{image}} {{stranger}}
        member-get {{image}} {{partner}}
    """,
    "member-update": f"""
        {FULL} --visibility shared
        member-create {{image}} {{stranger}}
        member-update {{image}} {{stranger}} accepted
        stranger: member-update {{image}} {{stranger}} accepted
        stranger: image-list --property-filter name=disk
        stranger: image-download {{image}}
        stranger: member-update {{image}} {{stranger}} rejected
        stranger: member-update {{image}} {{stranger}} perhaps
    """,
    "member-delete": f"""
        {MADE} --visibility shared
        member-create {{image}} {{stranger}}
        stranger: member-delete {{image}} {{stranger}}
        member-delete {{image}} {{stranger}}
        member-delete {{image}} {{stranger}}
        stranger: image-show {{image}}
    """,
    "explain": """
        ~ explain image
        ~ explain member
        ~ explain task
        ~ explain nothing
    """,
    "stores-info": """
        stores-info
        stores-info --detail
        ~ admin: stores-info --detail
    """,
    "import-info": "import-info",
    "usage": "usage",
    "image-stage": f"""
        {MADE}
        image-stage --file {{data}} {{image}}
        image-stage --file {{data}} {{image}}
        image-delete {{image}}
    """,
    "image-import": f"""
        {MADE}
        image-import {{image}}
        image-stage --file {{data}} {{image}}
        ~ image-import --import-method glance-direct {{image}}
        ~ admin: image-import --import-method copy-image --stores slow {{image}}
        image-create --id {{other}} --name other {RAW}
        ~ image-import --import-method web-download --uri {{web}}/small.img --store slow {{other}}
        image-import --import-method no-method {{other}}
    """,
    "image-create-via-import": f"""
        ~ image-create-via-import --id {{image}} --name disk {RAW} --file {{data}}
        ~ image-create-via-import --id {{other}} --name disk {RAW} --import-method web-download --uri {{web}}/small.img --all-stores True --allow-failure True
        ~ image-create-via-import --name x {RAW} --import-method web-download --uri ftp://127.0.0.1/x
    """,
    "image-tasks": f"""
        {MADE}
        image-tasks {{image}}
        image-stage --file {{data}} {{image}}
        ~ image-import {{image}}
        ~ admin: image-tasks {{image}}
    """,
    "task-create": """
        task-create --type import --input '{{}}'
        admin: task-create --type nothing --input '{{}}'
    """,
    "task-list": "task-list",
    "task-show": "admin: task-show {absent}",
    "add-location": f"""
        {MADE}
        ~ add-location --url {{web}}/small.img {{image}}
        add-location --url {{web}}/small.img {{image}}
        image-create --id {{other}} --name other {RAW}
        add-location --url ftp://127.0.0.1/x {{other}}
    """,
    "location-add": f"""
        {MADE}
        location-add --url {{web}}/small.img --metadata '{{{{"store": "web"}}}}' {{image}}
        location-add --url ftp://127.0.0.1/x {{image}}
        stranger: location-add --url {{web}}/small.img {{image}}
    """,
    "location-update": f"""
        {MADE}
        location-add --url {{web}}/small.img --metadata '{{{{"store": "web"}}}}' {{image}}
        location-update --url {{web}}/small.img --metadata '{{{{"store": "web", "a": "b"}}}}' {{image}}
        location-update --url {{web}}/nothing {{image}}
    """,
    "location-delete": f"""
        {MADE}
        location-add --url {{web}}/small.img --metadata '{{{{"store": "web"}}}}' {{image}}
        location-add --url {{web}}/small.qcow2 --metadata '{{{{"store": "web"}}}}' {{image}}
        location-delete --url {{web}}/small.img {{image}}
        admin: location-delete --url {{web}}/small.img {{image}}
    """,
    "stores-delete": f"""
        {FULL}
        admin: stores-delete --store fast {{image}}
        admin: stores-delete --store slow {{image}}
        stores-delete --store fast {{image}}
        admin: stores-delete --store nowhere {{image}}
    """,
    "cache-queue": f"""
        {FULL}
        admin: cache-queue {{image}}
        cache-queue {{image}}
        ~ admin: cache-queue {{absent}}
    """,
    "cache-list": "cache-list",
    "cache-delete": f"""
        {FULL}
        cache-delete {{image}}
        admin: cache-delete {{image}}
        ~ admin: cache-delete {{absent}}
    """,
    "cache-clear": """
        cache-clear
        admin: cache-clear --target queue
        admin: cache-clear --target everything
    """,
    "cache-clean": """
        cache-clean
        admin: cache-clean
    """,
    "cache-prune": """
        cache-prune
        admin: cache-prune
    """,
    "cache-nodes-list": "cache-nodes-list {absent}",
}
