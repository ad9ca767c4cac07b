"""The sections of `cacheproxy.conf`: every option's name, kind and help.

Defaults stand in the settings' dataclasses only (`config.py`).
"""

from __future__ import annotations

from cacheproxy.cache_section import CACHE
from cacheproxy.config import (
    KeystoneSettings,
    MetricsSettings,
    NotificationSettings,
    ServiceUserSettings,
    Settings,
    SignedUrlSettings,
    StoreReadSettings,
    UpstreamSettings,
)
from cacheproxy.kinds import (
    FilePath,
    FilePaths,
    Host,
    KeystoneUrl,
    Names,
    OneOf,
    OptionalDirectory,
    OptionalUrl,
    Seconds,
    Secret,
    ServiceUrls,
    SocketPath,
    Switch,
    Text,
    Whole,
)
from cacheproxy.option import Option, Section

SECTIONS = (
    Section(
        "DEFAULT",
        Settings,
        [
            Option(
                "bind_host",
                Host(),
                "Address on which the proxy answers the Images API. A name is resolved once, at start; :: means IPv4 and IPv6.",
                "host",
            ),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the Images API. 0 takes any free one; the log tells which.",
                "port",
            ),
            Option(
                "cert_file",
                FilePath(),
                "Answer the Images API over TLS with this certificate and those above it, in PEM; read again on SIGHUP. Unix sockets and the metrics stay without. Empty: no TLS.",
            ),
            Option(
                "key_file",
                FilePath(),
                "The key of that certificate, without a passphrase, not readable by others. Empty: it is in the same file.",
            ),
            Option(
                "ca_file",
                FilePath(),
                "A file of authorities, in PEM, one of which must vouch for each client's own certificate. Empty: clients need none.",
            ),
            Option(
                "workers",
                Whole(1, 64),
                "Processes that answer requests, each on a core of its own at most.",
            ),
            Option(
                "fast_lane",
                Switch(),
                "Whether requests for what is cached, open and believed are answered before the full HTTP parser sees them. Answers are the same without it; short ones cost several times the processor time. Switch it off only to find out whether it is at fault.",
            ),
            Option(
                "access_log",
                Switch(),
                "Whether each request is told in the log, on a line of its own. For many small ranges these lines cost more than the answers.",
            ),
            Option(
                "hang_seconds",
                Seconds(2, 3600),
                "A process of ours that shows no sign of life for so long is killed and replaced.",
            ),
            Option(
                "drain_seconds",
                Seconds(0, 86400),
                "How long a stop waits for responses in progress before it breaks them off.",
            ),
            Option(
                "connections_max",
                Whole(1, 1_000_000),
                "Client connections open at once, all workers together; more wait to be accepted.",
            ),
            Option(
                "cache_api",
                OneOf(("upstream", "local")),
                "Whose image cache /v2/cache manages (glance cache-list, cache-queue, cache-delete, cache-clear). upstream: that of the Glance behind the proxy. local: this node's own. It is for administrators; who is one says Keystone ([keystone]), or without it the upstream, by answering GET /v2/cache with 200.",
            ),
            Option(
                "admin_socket",
                SocketPath(),
                "Where `cacheproxy status` and the other commands reach the daemon. Owner and group may use it. Not set: admin.sock in [cache] directory.",
            ),
        ],
    ),
    Section(
        "upstream",
        UpstreamSettings,
        [
            Option(
                "url",
                ServiceUrls(),
                "The Glance behind the proxy, as in its endpoint in Keystone's catalog; a path is kept, a trailing /v2 is dropped. Several URLs must lead to the same service, with the same images and the same Keystone: the first one that works is used, the others are asked while it does not. Must be set.",
            ),
            Option(
                "cafile",
                FilePath(),
                "For https URLs: a file of the authorities that vouch for the upstream, in PEM. Empty: those that this machine trusts.",
            ),
            Option(
                "certfile",
                FilePath(),
                "For https URLs: the proxy's own certificate, in PEM, for an upstream that asks for one.",
            ),
            Option(
                "keyfile",
                FilePath(),
                "The key of that certificate, without a passphrase. Empty: it is in the same file.",
            ),
            Option(
                "insecure",
                Switch(),
                "For https URLs: believe whoever answers to be the upstream. Whoever can get between then reads all tokens and sends any image data.",
            ),
            Option(
                "trust_upstream_hashes",
                Switch(),
                "Believe an image's os_hash_value before its bytes were seen, so that equal images are fetched once. Only for a Glance whose users cannot set hashes with locations.",
            ),
            Option(
                "connect_timeout_seconds",
                Seconds(0.1, 300),
                "Longest wait for a connection to the upstream.",
            ),
            Option(
                "read_timeout_seconds",
                Seconds(1, 3600),
                "Longest wait for the beginning of the upstream's answer to a request that only reads, and longest silence in the middle of any answer.",
            ),
            Option(
                "failover_seconds",
                Seconds(1, 3600),
                "With several URLs: how long a request that only reads waits for the beginning of an answer before the next URL is asked. The last one is given read_timeout_seconds. A request that changes something is never sent twice.",
            ),
            Option(
                "change_timeout_seconds",
                Seconds(1, 86400),
                "Longest wait for the answer to an upload or another change once it is sent: storing a large image can take long.",
            ),
            Option(
                "permission_seconds",
                Seconds(0, 3600),
                "How long the upstream's word that a caller may download an image is believed. 0 asks every time.",
            ),
            Option(
                "permission_entries_max",
                Whole(1, 10_000_000),
                "How many such words each worker remembers.",
            ),
            Option(
                "on_upstream_failure",
                OneOf(("refuse", "serve-recently-allowed")),
                "What becomes of clients while the upstream does not answer. refuse: 503, also for what is cached. serve-recently-allowed: whoever was allowed to download an image within recently_allowed_seconds, and not refused since, goes on to get what is cached of it.",
            ),
            Option(
                "recently_allowed_seconds",
                Seconds(1, 7 * 86400),
                "How long, from the upstream's last word that he may, a caller goes on without it; only with serve-recently-allowed. A right that is withdrawn while the upstream is silent is believed for as long.",
            ),
            Option(
                "gone_poll_seconds",
                Seconds(0, 7 * 86400),
                "How often the proxy's own account ([service_user]) asks, image by image, whether what is cached still exists. A catalog of cacheproxy tells by itself and is only listened to. 0: never.",
            ),
        ],
    ),
    CACHE,
    Section(
        "metrics",
        MetricsSettings,
        [
            Option("bind_host", Host(), "Address on which Prometheus finds GET /metrics.", "host"),
            Option(
                "bind_port",
                Whole(0, 65535),
                "Port of the metrics. 0 takes any free one; the log tells which.",
                "port",
            ),
        ],
    ),
    Section(
        "stores",
        StoreReadSettings,
        [
            Option(
                "config_file",
                FilePaths(),
                "Files in which stores are configured as Glance's own are: [glance_store], or [DEFAULT] enabled_backends and a section for each. A directory: all files in it that end with .conf. Image data is then read straight from these stores, where the upstream says in which of them an image is; see docs/direct-reads.md. Glance's own file will do; one with nothing but its stores is better, since this program needs no more. Read at the start. Empty: everything comes from the upstream.",
            ),
            Option(
                "read",
                Names(),
                "Which of these stores are read, by name. Empty: all but those of the kinds file and http, which have to be named: paths and addresses mean something else on this machine than on Glance's.",
            ),
            Option(
                "stall_seconds",
                Seconds(1, 300),
                "The longest silence of a store; then the upstream goes on.",
            ),
        ],
    ),
    Section(
        "service_user",
        ServiceUserSettings,
        [
            Option(
                "auth_url",
                KeystoneUrl(),
                "Keystone of the proxy's own account, which looks after cached images when no caller is there: whether they still exist, and that a download is completed whose callers' tokens have expired. It needs a role that sees and downloads every image (admin, in stock Glance). Empty: no account.",
            ),
            Option("username", Text(), "Its name, unless it has an application credential."),
            Option(
                "password", Secret(), "Its password. Keep this file readable for the proxy only."
            ),
            Option("user_domain_name", Text(), "The domain of its name."),
            Option("project_name", Text(), "The project that its tokens are for."),
            Option("project_domain_name", Text(), "The domain of that project."),
            Option(
                "application_credential_id",
                Text(),
                "An application credential, in place of name, password and project.",
            ),
            Option("application_credential_secret", Secret(), "The secret of that credential."),
            Option("cafile", Text(), "A file of the authorities that vouch for Keystone, in PEM."),
            Option("timeout_seconds", Seconds(1, 300), "Longest wait for Keystone."),
        ],
    ),
    Section(
        "signed_urls",
        SignedUrlSettings,
        [
            Option(
                "enabled",
                Switch(),
                "Answer POST /cacheproxy/v1/images/{id}/url with a URL by which this image, and nothing else, can be read without a token until it expires: for qemu, whose HTTP driver cannot send one. Whoever has such a URL can use it. See docs/signed-urls.md.",
            ),
            Option(
                "directory",
                OptionalDirectory(),
                "Where the keys are that sign them, and the ends of renewed URLs; made for this user alone. Not set: signed-urls in [cache] directory. Without its files all URLs that were given out end.",
            ),
            Option(
                "base_url",
                OptionalUrl(),
                "How URLs begin, where their users do not reach the proxy under the name by which it was asked for them. Not set: http:// (https:// with [DEFAULT] cert_file) and the Host of that request.",
            ),
            Option(
                "lifetime_seconds",
                Whole(1, 31_536_000),
                "How long a URL lives for which no lifetime was asked.",
            ),
            Option(
                "lifetime_seconds_max",
                Whole(1, 31_536_000),
                "The longest lifetime that may be asked for. A URL can be renewed for as long again, as often as its token's owner may download the image.",
            ),
            Option(
                "key_days",
                Whole(1, 3650),
                "After so many days a new key signs. Those before it verify what they have signed until it has expired.",
            ),
        ],
    ),
    Section(
        "keystone",
        KeystoneSettings,
        [
            Option(
                "auth_url",
                KeystoneUrl(),
                "Keystone, to look up who sends a token: for cache_api = local, and for project and user in the access log. A token vouches for itself, no account is needed. Whether a caller may have an image is always asked of the upstream. Empty: nobody looks.",
            ),
            Option(
                "cafile",
                FilePath(),
                "Certificates of the authorities that vouch for this Keystone, in PEM. Not set: those that this machine trusts.",
            ),
            Option("timeout_seconds", Seconds(1, 300), "Longest wait for Keystone."),
            Option(
                "token_seconds",
                Seconds(0, 3600),
                "How long Keystone's word on a token is believed; one that is revoked is taken for so long.",
            ),
        ],
    ),
    Section(
        "notifications",
        NotificationSettings,
        [
            Option(
                "transport_url",
                Secret(),
                "Message bus to which image.send notifications go, as Glance's transport_url, for the answers that come from this node's cache and that Glance therefore does not notify of. Needs oslo.messaging (pip install cacheproxy[notifications]). A bus that is away costs notifications, nothing waits for it. Empty: none are sent.",
            ),
            Option("topic", Text(), "Topic on which they are sent."),
            Option(
                "driver",
                OneOf(("messagingv2", "messaging", "log")),
                "Driver of oslo.messaging's notifier. log: they go to this program's log.",
            ),
            Option(
                "publisher_id",
                Text(),
                "Who they are said to come from. Empty: image. and the name of this machine.",
            ),
        ],
    ),
)
