"""What the commands are for, with examples: the texts of `--help` and of docs/commands.md.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_FILE = Path("/etc/cacheproxy/cacheproxy.conf")

CommandName = Literal[
    "serve",
    "check-config",
    "status",
    "list",
    "show",
    "pin",
    "unpin",
    "evict",
    "prefetch",
    "url",
    "verify",
    "purge",
    "gc",
]

DESCRIPTION = """\
A Glance endpoint for one compute node: it answers image downloads from a verified cache on this
node's disk, asks the real Glance whether the caller may have them, and passes everything else on.
"""

EPILOG = f"""\
Start it with the least that it needs, the Glance behind it:

  printf '[upstream]\\nurl = http://glance.example:9292\\n' > cacheproxy.conf
  cacheproxy serve --config-file cacheproxy.conf

Look at it, from another terminal:

  cacheproxy status --config-file cacheproxy.conf
  curl http://127.0.0.1:9293/metrics

Have Nova use it (nova.conf on the same node):

  [glance]
  endpoint_override = http://127.0.0.1:9292

All commands but serve, check-config and url ask the daemon that runs, over its admin socket:
[DEFAULT] admin_socket of the configuration, which is {DEFAULT_FILE}
without --config-file.
docs/cacheproxy.conf.sample explains every option.
`cacheproxy COMMAND --help` explains each with examples.

Exit codes: 0 it went well; 1 it did not; 2 wrong usage; 3 no daemon answers.
"""

SERVE_EPILOG = f"""\
  printf '[upstream]\\nurl = http://glance.example:9292\\n' > cacheproxy.conf
  cacheproxy serve --config-file cacheproxy.conf

Try it:

  curl -H "X-Auth-Token: $TOKEN" -O http://127.0.0.1:9292/v2/images/$IMAGE/file

Several files are merged, later ones over earlier ones; without --config-file it is
{DEFAULT_FILE}.  docs/cacheproxy.conf.sample explains every option.
SIGHUP reads the files again: the size of the cache, the share of a project and the certificate
change at once.
Stop it with Ctrl-C or SIGTERM: responses in progress are finished; a second one breaks them off.
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A command: one line, what it does, examples, and what it prints (docs/commands.md only)."""

    summary: str
    text: str
    examples: str
    sample: str = ""


PAGES: dict[CommandName, Page] = {
    "serve": Page("answer the Images API on this node until stopped", DESCRIPTION, SERVE_EPILOG),
    "check-config": Page(
        "say whether the configuration is right, and start nothing",
        """\
Reads the configuration as serve would, and says what is wrong with it: the first thing that
is.  A daemon that runs is not touched.  What only a start can tell is not looked at: whether the
addresses are free, the upstream answers, and the disk has room.
""",
        """\
  cacheproxy check-config
  cacheproxy check-config --config-file new.conf && mv new.conf /etc/cacheproxy/cacheproxy.conf
""",
        """\
/etc/cacheproxy/cacheproxy.conf: right; images at 127.0.0.1:9292 from http://glance.example:9292
""",
    ),
    "status": Page(
        "how the daemon is, in one look",
        """\
Tells how full the cache is, what is on its way into it, how many requests it has answered by
itself, and whether anything is wrong.  Exits with 3 if no daemon answers.
""",
        """\
  cacheproxy status
  cacheproxy status --json | jq .requests.hit_ratio
  watch cacheproxy status
""",
        """\
cacheproxy 0.1.0, up 3 d 4 h, cache in /var/lib/cacheproxy

upstream   http://glance.example:9292
disk       normal
space      [##############------]  70.8 % of 10.0 GiB
           chunks 7.0 GiB, index and directories 85.0 MiB, quarantine 2.0 MiB, reserved 685.0 MiB
known      7,168 chunks, 14 contents, 17 images, 2 of them pinned (2.0 GiB)
requests   1,294: 1,100 hit, 12 partial, 80 miss, 100 bypass, 2 refused, 0 error
           92.3 % of what the cache answered were hits; 96.1 % of 1.2 TiB came from the disk
processes  supervisor 812, keeper 815, workers 816 817
scrubber   running, 31.4 % of a round, 2.2 GiB read
fills      1 in progress
           6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0002  [######--------------]  33.1 % of 1.0 GiB, 2 readers, 12 s
""",
    ),
    "list": Page(
        "the images that the cache knows",
        """\
Lists the images of which the cache has something, or had: size, what is cached of it, and why
its bytes are believed (published: the catalog told their digests; proven: they matched the
image's hash; learning: on its way, or fetched in part; unknown: only pinned yet).  The largest
part of the cache comes first.
""",
        """\
  cacheproxy list
  cacheproxy list --only partial --sort percent
  cacheproxy list --limit 20 --skip 20
  cacheproxy list --json | jq -r '.images[] | select(.cached_bytes == 0) | .image'
""",
        """\
IMAGE                                     SIZE     CACHED       %  BYTES      PIN  FILL
6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001  10.0 GiB   10.0 GiB   100 %  proven     pin
6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0002   1.0 GiB  339.0 MiB  33.1 %  learning        fill
6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0003   2.0 GiB        0 B     0 %  published
3 images
""",
    ),
    "show": Page(
        "all that is known of one image",
        """\
Shows an image's size and hashes, the content that it is, which parts of it are cached (# all, +
some, . nothing of each part), which other images are the same content, and a fill in progress.
""",
        """\
  cacheproxy show 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
  cacheproxy show 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001 --json | jq '.cached.ranges'
""",
        """\
image    6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0002
size     64.5 MiB (67,633,152 bytes), in chunks of 1.0 MiB
bytes    proven, content sha512:0c0d/1048576
hashes   md5 b1946ac92492d2347c6235b4d2611184
         sha512 0c0d
pinned   no
cached   50.4 %: 33 of 65 chunks, 32.5 MiB in 2 ranges
         [################...............................+################]
         0-16777215, 50331648-67633151
same as  6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0003
""",
    ),
    "pin": Page(
        "keep an image, whatever else has to go",
        """\
Keeps all chunks of an image in the cache: those that are there, and those that come.  An image
that is not cached yet may be pinned as well; `prefetch` brings it in.
""",
        """\
  cacheproxy pin 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
  cacheproxy pin $IMAGE && cacheproxy prefetch $IMAGE
""",
    ),
    "unpin": Page(
        "let a pinned image go when its turn comes",
        """\
Undoes `pin`.  Nothing is dropped now; the image's chunks are evicted like any others.
""",
        """\
  cacheproxy unpin 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
""",
    ),
    "evict": Page(
        "drop images from the cache",
        """\
Drops the chunks of images now, but for those that other images have too.  What is known of the
images stays, so that they can be verified again as they come back.  Chunks that are being sent
to a client follow when that is done.  A pinned image, or one that is being fetched, is not
touched.
""",
        """\
  cacheproxy evict 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
  cacheproxy evict --content $IMAGE      # also what other images share with it
  cacheproxy evict $IMAGE1 $IMAGE2       # with what only the two of them share
""",
    ),
    "prefetch": Page(
        "bring images into the cache before anybody asks for them",
        """\
Fetches all of each image, one after the other, and joins whatever fetches it already.  The
upstream is asked with a token of yours, which is never stored or logged: from the environment
variable OS_TOKEN, or from a file.  Without one the proxy's own account is used, if [service_user]
tells of one; else none is, which does for an upstream without Keystone.
With --no-wait it goes on in the daemon; otherwise Ctrl-C ends it, and what has come stays.
""",
        """\
  OS_TOKEN=$(openstack token issue -f value -c id) cacheproxy prefetch $IMAGE
  cacheproxy prefetch --os-token-file /run/token $IMAGE1 $IMAGE2
  cacheproxy prefetch --no-wait $IMAGE && cacheproxy status
""",
    ),
    "url": Page(
        "a URL by which qemu can read an image without a token",
        """\
Has the proxy sign a URL that reads this image, and nothing else, until it expires, and prints it
with lines for qemu.  The right to the image is that of a token of yours: from the environment
variable OS_TOKEN, or from a file.  Whoever has the URL can use it.  [signed_urls] must be enabled.
--renew has a URL live on without a change to it, as a running guest needs it.
docs/signed-urls.md tells all about them.
""",
        """\
  OS_TOKEN=$(openstack token issue -f value -c id) cacheproxy url $IMAGE
  cacheproxy url --os-token-file /run/token --lifetime 86400 $IMAGE
  cacheproxy url --os-token-file /run/token --renew $URL $IMAGE
  cacheproxy url --endpoint http://node1.example:9292 --json $IMAGE
""",
        """\
http://127.0.0.1:9292/cacheproxy/v1/images/6ea1ff0e-2f7b/file?grant=1.2a.1.2.x.y

It expires at 2026-11-23T01:25:00Z, or with your token.  The same URL lives on with
  cacheproxy url 6ea1ff0e-2f7b --renew URL

Look at it, copy it, or run a guest on it whose writes go elsewhere:
  qemu-img info 'json:{"driver": "qcow2", "file": {"driver": "http", "url": "http://127.0.0.1:9292/cacheproxy/v1/images/6ea1ff0e-2f7b/file?grant=1.2a.1.2.x.y", "timeout": 300}}'
  qemu-img convert -m 1 -O raw 'json:{"driver": "qcow2", "file": {"driver": "http", "url": "http://127.0.0.1:9292/cacheproxy/v1/images/6ea1ff0e-2f7b/file?grant=1.2a.1.2.x.y", "timeout": 300}}' disk.raw
  qemu-img create -f qcow2 -F qcow2 -b 'json:{"driver": "qcow2", "file": {"driver": "http", "url": "http://127.0.0.1:9292/cacheproxy/v1/images/6ea1ff0e-2f7b/file?grant=1.2a.1.2.x.y", "timeout": 300}}' disk.qcow2
""",
    ),
    "verify": Page(
        "read and hash what is cached",
        """\
Reads and hashes the chunks of images, or of the whole cache where none is named.  Damaged ones
are set aside at once, and fetched again when somebody wants them.  Exits with 1 if any was
damaged.
With --offline the directory is read without a daemon, which must not be running; nothing is
changed then, unless --repair tells so.
""",
        """\
  cacheproxy verify
  cacheproxy verify 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
  cacheproxy verify --offline --config-file /etc/cacheproxy/cacheproxy.conf
""",
    ),
    "purge": Page(
        "ask the upstream again who may download",
        """\
Forgets who was allowed to download an image, or any: the next request of each caller is decided by
the upstream anew.  Nothing that is cached goes.  Use it after rights were changed behind the
proxy's back and [upstream] permission_seconds is too long to wait, or while the upstream is away
and on_upstream_failure is serve-recently-allowed: then nobody gets anything until it is back.
""",
        """\
  cacheproxy purge
  cacheproxy purge 6ea1ff0e-2f7b-4d2c-9d54-1c1f7e0f0001
""",
    ),
    "gc": Page(
        "remove what nobody needs",
        """\
Removes records of images and contents that lead to nothing, chunks that belong to no known
image, and the files that were set aside as damaged.  Chunks are left alone while anything is
being fetched.
It is never necessary: all of it is evicted or replaced when room is needed.
""",
        """\
  cacheproxy gc
""",
    ),
}
