"""Every `openstack image …` command but those about metadata definitions: what is typed, by whom.

Lines begin with who types them, where that is not the member; {image} and {other} are images.
Behind a "~" is what is told in words of one's own.
"""

from __future__ import annotations

RAW = "--disk-format raw --container-format bare"
MADE = f"image create --id {{image}} {RAW} -f json disk-{{image}}"
FULL = f"{MADE} --file {{data}}"

COMMANDS: dict[str, str] = {
    "image create": f"""
        {FULL} --property os_distro=none --tag a --tag b --min-ram 5 --min-disk 1
        image create --id {{other}} --private --protected --hidden -f json empty
        image create --id {{image}} -f json again
        image create --public -f json x
        image create --project {{stranger}} -f json x
        image set --unprotected {{other}}
    """,
    "image list": f"""
        {FULL} --tag {{image}} --property k={{image}}
        image create --id {{other}} --tag {{image}} --hidden -f json other
        image list --tag {{image}} -f json
        image list --tag {{image}} --long -f json
        image list --property k={{image}} -f json
        image list --tag {{image}} --hidden -f json
        image list --tag {{image}} --private -f json
        image list --tag {{image}} --all -f json
        image list --tag {{image}} --status queued -f json
        image list --name disk-{{image}} -f json
        image list --tag {{image}} --sort name:asc,size:desc --limit 1 -f json
        image list --tag {{image}} --project {{member}} -f json
        image list --tag {{image}} --member-status all --shared -f json
        stranger: image list --tag {{image}} --community -f json
    """,
    "image show": f"""
        {FULL} --property empty=
        image show {{image}} -f json
        image show disk-{{image}} -f json --human-readable
        stranger: image show {{image}} -f json
        image show nothing -f json
    """,
    "image save": f"""
        {FULL}
        image save {{image}} --file {{to}}
        image save disk-{{image}} --file {{to}}
        stranger: image save {{image}} --file {{to}}
    """,
    "image set": f"""
        {MADE} --property a=1
        image set --name new-{{image}} --property a=2 --property b=3 --tag x --min-disk 7 {{image}}
        image set --architecture x86_64 --os-distro none --os-version 1 {{image}}
        image set --shared {{image}}
        image set --public {{image}}
        image set --protected --hidden {{image}}
        image delete {{image}}
        stranger: image set --name mine {{image}}
        image set --unprotected --unhidden {{image}}
        image set --deactivate {{image}}
        admin: image set --project {{stranger}} {{image}}
        image show {{image}} -f json
    """,
    "image unset": f"""
        {MADE} --property a=1 --property b=2 --tag x --tag y
        image unset --property a --tag x {{image}}
        image unset --property nothing {{image}}
        image unset --tag nothing {{image}}
    """,
    "image delete": f"""
        {FULL}
        image create --id {{other}} -f json other
        stranger: image delete {{image}}
        image delete {{image}} {{absent}} {{other}}
        image delete {{image}}
    """,
    "image add project": f"""
        {FULL} --shared
        image add project {{image}} {{stranger}} -f json
        image add project {{image}} {{stranger}} -f json
        stranger: image set --accept {{image}}
        stranger: image list --shared --name disk-{{image}} -f json
        stranger: image set --reject {{image}}
        stranger: image save {{image}} --file {{to}}
    """,
    "image remove project": f"""
        {MADE} --shared
        image add project {{image}} {{stranger}} -f json
        image remove project {{image}} {{stranger}}
        image remove project {{image}} {{stranger}}
    """,
    "image member list": f"""
        {MADE} --shared
        image member list {{image}} -f json
        image add project {{image}} {{stranger}} -f json
        image member list {{image}} -f json
    """,
    "image member get": f"""
        {MADE} --shared
        image add project {{image}} {{stranger}} -f json
        image member get {{image}} {{stranger}} -f json
        image member get {{image}} {{partner}} -f json
    """,
    "image stores list": """
        image stores list -f json
        ~ admin: image stores list --detail -f json
    """,
    "image import info": "image import info -f json",
    "image stage": f"""
        {MADE}
        image stage --file {{data}} {{image}}
        image stage --file {{data}} {{image}}
    """,
    "image import": f"""
        {MADE}
        image import {{image}} -f json
        image stage --file {{data}} {{image}}
        ~ image import {{image}} -f json
        ~ admin: image import --method copy-image --store slow {{image}} -f json
        image create --id {{other}} {RAW} -f json other
        ~ image import --method web-download --uri {{web}}/small.img --store slow {{other}} -f json
    """,
    "image task list": """
        image task list -f json
        admin: image task list --status pending -f json
    """,
    "image task show": "admin: image task show {absent} -f json",
    "cached image list": """
        ~ cached image list -f json
        ~ admin: cached image list -f json
    """,
    "cached image queue": f"""
        {FULL}
        cached image queue {{image}}
        admin: cached image queue {{image}}
    """,
    "cached image delete": "cached image delete {absent}",
    "cached image clear": """
        cached image clear
        admin: cached image clear --queue
    """,
}
