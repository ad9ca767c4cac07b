"""What measurements must show: each bar has a name, and is met if the interval reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.rounds import Ratio


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar; the figure is ours divided by theirs unless `what` says otherwise."""

    name: str
    what: str
    limit: float
    aim: float  # beyond the limit
    at_most: bool = False  # small is good

    def judge(self, found: Ratio, against: str = "") -> Verdict:
        """Hold a figure to it; `against` names the peer, where several were possible."""
        return Verdict(self.name, found.median, found.low, found.high, against)

    def met(self, low: float, high: float) -> bool:
        """Tell whether the interval of a figure reaches it."""
        return low <= self.limit if self.at_most else high >= self.limit

    def beyond(self, middle: float) -> bool:
        """Tell whether a median reaches what is aimed at."""
        return middle <= self.aim if self.at_most else middle >= self.aim

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for a bar: the median and its 90 % interval."""

    name: str  # of the bar
    median: float
    low: float
    high: float
    against: str = ""

    @property
    def met(self) -> bool:
        """Tell whether the interval reaches the bar."""
        return BARS[self.name].met(self.low, self.high)

    def __str__(self) -> str:
        bar = BARS[self.name]
        against = f" (against {self.against})" if self.against else ""
        verdict = "met" if self.met else "NOT MET"
        return (
            f"{bar.what}{against}: {self.median:.3g} [{self.low:.3g}, {self.high:.3g}],"
            f" bar {bar}: {verdict}"
        )


_NGINX = "nginx (proxy_cache + slice)"

BARS = {
    bar.name: bar
    for bar in (
        Bar("hit-range-4k", f"random ranges of 4 KiB, requests/s, against {_NGINX}", 1.0, 1.3),
        Bar("hit-range-64k", f"random ranges of 64 KiB, requests/s, against {_NGINX}", 1.0, 1.2),
        Bar("hit-range-1m", f"random ranges of 1 MiB, requests/s, against {_NGINX}", 1.0, 1.2),
        Bar("hit-whole-1", "whole image, 1 client, bytes/s, against the best peer", 1.0, 1.2),
        Bar("hit-whole-1-cpu", "the same, CPU s per GB", 1.0, 0.8, at_most=True),
        Bar("hit-whole-16", "whole image, 16 clients, bytes/s, against the best peer", 1.0, 1.2),
        Bar("hit-whole-16-cpu", "the same, CPU s per GB", 1.0, 0.8, at_most=True),
        Bar(
            "hit-latency-4k",
            "p99 of 4 KiB at half of the slower one's saturation, against nginx",
            *(1.2, 1.0),
            at_most=True,
        ),
        Bar("hit-latency-64k", "the same of 64 KiB", 1.2, 1.0, at_most=True),
        Bar(
            "cold-one-published",
            "one cold image, published manifest, verified, bytes/s, against nginx's unverified fill",
            *(0.9, 1.1),
        ),
        Bar(
            "cold-one-learned",
            "one cold image, learned manifest, bytes/s, against 1 ÷ (1/SHA-512 + 1/nginx)",
            *(0.9, 1.0),
        ),
        Bar(
            "cold-herd-fetched",
            "64 clients on one cold image: data fetched ÷ image",
            *(1.0, 1.0),
            at_most=True,
        ),
        Bar(
            "cold-herd-done",
            "the same: last client done ÷ (cold-one + 64 images ÷ hit-whole rate)",
            *(1.25, 1.1),
            at_most=True,
        ),
        Bar("mixed", "hit p99 while filling and evicting ÷ quiet", 2.0, 1.3, at_most=True),
        Bar("glance-whole", "warm whole image, bytes/s, against Glance's own cache", 1.0, 1.2),
        Bar("glance-whole-cpu", "the same, CPU s per GB", 0.7, 0.7, at_most=True),
        Bar("glance-range-64k", "ranges of 64 KiB, requests/s, against Glance", 50.0, 100.0),
        Bar("glance-range-1m", "ranges of 1 MiB, requests/s, against Glance", 50.0, 100.0),
        Bar("glance-herd", "16 clients on one cold image: how many times sooner done", 3.0, 5.0),
        Bar("glance-herd-cpu", "the same: Glance's CPU, with us ÷ without", 0.1, 0.1, at_most=True),
        Bar("glance-herd-reads", "the same: reads of the store", 1.0, 1.0, at_most=True),
        Bar(
            "workers-balance",
            "2 workers, 16 connections: share of those of one worker",
            *(0.6, 0.5),
            at_most=True,
        ),
        Bar("workers", "2 workers + keeper on 2 cores, requests/s, against 2 nginx's", 1.0, 1.2),
        Bar(
            "memory",
            "anonymous MiB of supervisor, keeper, worker; 1,000 idle connections, 16 fills",
            *(250.0, 160.0),
            at_most=True,
        ),
        Bar(
            "store-up",
            "an image into a store, MD5 and SHA-512 too, bytes/s, against glance_store",
            1.5,
            2.0,
        ),
        Bar("store-up-cpu", "the same, the driver's CPU s per GB", 0.67, 0.5, at_most=True),
        Bar("store-up-alone", "the same without these hashes, bytes/s", 1.5, 2.0),
        Bar("store-up-alone-cpu", "the same, CPU s per GB", 0.67, 0.5, at_most=True),
        Bar("store-down", "a whole image from a store, bytes/s, against glance_store", 2.0, 3.0),
        Bar("store-down-cpu", "the same, the driver's CPU s per GB", 0.5, 0.33, at_most=True),
        Bar("store-peak", "the same: our process, peak MiB", 150.0, 100.0, at_most=True),
        Bar("registry-show", "a record from the catalog, calls/s, against Glance 33", 8.0, 12.0),
        Bar("registry-list", "a page of 25 records, calls/s, against Glance 33", 5.0, 10.0),
        Bar(
            "registry-properties",
            "of 100,000 images with a million properties, how many times sooner than Glance 33",
            *(5.0, 10.0),
        ),
        Bar("registry-write", "records created, changed, deleted, calls/s", 3.0, 5.0),
        Bar("registry-upload", "an image in, with all three hashes, bytes/s", 3.0, 4.0),
        Bar("registry-download", "a whole image out, bytes/s", 1.0, 1.5),
        Bar("registry-range", "ranges of an image, calls/s", 20.0, 30.0),
    )
}
