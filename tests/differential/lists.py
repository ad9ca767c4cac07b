"""Lists of images: every filter and operator, orders, pages, and what is no list."""

from __future__ import annotations

from hypothesis import strategies as st

from differential.call import Call
from differential.drawing import TAGS, Values, mostly, one

_TIMES = mostly(
    one("2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z", "2001-01-01", "2001-01-01T00:00:00+01:00"),
    one("2001", "2001-01", "2001-1-2", "20010101T000000Z", "200101", "2001-W01-1", "2001-01-01T24"),
)
_ORDER = one(
    "name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"
)
_FILTERS: dict[str, Values] = {
    **{
        name: mostly(
            one("a", "b", "in:a,b", 'in:"a,b"', "eq:a", "", "ü", "A"),
            one(
                "in:",
                'in:"a',
                "neq:a",
                "x:y",
                'in:a"b"',
                "in:a,,b",
                'in:"a",b',
                "in:a, b",
                'in:"q\\"x"',
            ),
        )
        for name in ("name",)
    },
    "status": one("queued", "active", "in:queued,active", "deactivated", "x", "killed", "deleted"),
    "container_format": one("bare", "in:bare,ovf", "x", "neq:bare"),
    "disk_format": one("raw", "in:raw,iso", "x"),
    "id": one("{0}", "in:{0},{1}", "{absent}", "x"),
    "owner": one("{p0}", "", "in:{p0},{p1}"),
    "visibility": mostly(one("public", "community", "shared", "private", "all"), one("", "x")),
    "protected": mostly(one("true", "false"), one("True", "1", "")),
    "os_hidden": mostly(one("true", "false", "True"), one("1", "")),
    "size": one("4", "0", "x", "", "04"),
    "size_min": mostly(one("0", "1", "4", "5"), one("x", "", "1.5", "-1", " 4 ", "+4")),
    "size_max": mostly(one("0", "3", "4", "5"), one("x", "")),
    "min_ram": one("0", "1", "x"),
    "min_ram_min": one("1", "x"),
    "min_disk": one("0", "1"),
    "min_disk_max": one("1", "0"),
    "checksum": one("8d777f385d3dfec8815d20f7496026dc", "x", ""),
    "os_hash_algo": one("sha512", "x"),
    "os_hash_value": one("x", ""),
    "created_at": st.one_of(
        _TIMES,
        st.tuples(one("gt", "gte", "lt", "lte", "neq", "eq", "in", "x"), _TIMES).map(":".join),
        one("x", "gt:x", "gt:", ""),
    ),
    "updated_at": st.tuples(one("gt", "lt"), _TIMES).map(":".join),
    "tag": TAGS,
    "k": one("v", "w", "", "V"),
    "l": one("v", "x"),
    "a/b": one("v"),
    "os_distro": one("x", ""),
    "member_status": mostly(one("accepted", "pending", "rejected", "all"), one("x", "")),
    "changes-since": one("2001-01-01T00:00:00Z", ""),
    "deleted": one("true", "false"),
    "name_min": one("1", "x"),
    "foo_max": one("1", "x"),
    "properties": one("x"),
    "tags": one("a"),
    "locations": one("x"),
    "virtual_size": one("4"),
    "limit": mostly(
        one("1", "2", "3", "100"), one("0", "-1", "x", "", "1.5", " 2", "+2", "9" * 30)
    ),
    "marker": mostly(one("{0}", "{1}", "{2}"), one("{absent}", "x", "")),
    "sort_key": mostly(_ORDER, one("owner", "x", "", " name ")),
    "sort_dir": mostly(one("asc", "desc"), one("up", "", "ASC", " asc")),
    "sort": mostly(
        st.lists(
            st.tuples(_ORDER, one("", ":asc", ":desc")).map("".join), min_size=1, max_size=3
        ).map(",".join),
        one("", "x", "name:up", "name,", " name : asc "),
    ),
}
_PAIR = st.sampled_from(sorted(_FILTERS)).flatmap(
    lambda name: st.tuples(st.just(name), _FILTERS[name])
)
_PAGED = st.tuples(_ORDER, one("asc", "desc"), one("1", "2"), one("{0}", "{1}", "{2}", "{3}")).map(
    lambda drawn: (
        ("sort_key", drawn[0]),
        ("sort_dir", drawn[1]),
        ("limit", drawn[2]),
        ("marker", drawn[3]),
    )
)
LISTS = st.one_of(st.lists(_PAIR, max_size=3).map(tuple), _PAGED, st.just(())).map(
    lambda query: Call("GET", "/images", query)
)
