"""Who is measured: cacheproxy, and the best caching proxies that Debian has."""

from __future__ import annotations

from bench.peers.nginx import NGINX, NGINX_THREADS, NGINX_WHOLE
from bench.peers.own import CACHEPROXY
from bench.peers.peer import Peer
from bench.peers.squid import SQUID
from bench.peers.trafficserver import TRAFFICSERVER
from bench.peers.varnish import VARNISH

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (CACHEPROXY, NGINX, NGINX_WHOLE, NGINX_THREADS, VARNISH, SQUID, TRAFFICSERVER)
}
