"""The board: what processes count together is what one reads, and the names are the promised ones."""

from __future__ import annotations

import os
from collections import Counter as Tally

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy import metrics
from cacheproxy.meter import LAYOUT, Board, Counter, Equation, Gauge, Histogram, Metric, Term


def printed(board: Board) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the printed text back with Prometheus's own parser."""
    families = text_string_to_metric_families(board.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_names_that_operators_rely_on_are_printed() -> None:
    names = {name for name, _ in printed(Board.create(1))}
    assert names >= {
        "cacheproxy_file_requests_total",
        "cacheproxy_requests_total",
        "cacheproxy_permission_questions_total",
        "cacheproxy_served_bytes_total",
        "cacheproxy_upstream_requests_total",
        "cacheproxy_upstream_bytes_total",
        "cacheproxy_flights_joined_total",
        "cacheproxy_verify_failures_total",
        "cacheproxy_evicted_bytes_total",
        "cacheproxy_cache_bytes",
        "cacheproxy_cache_limit_bytes",
        "cacheproxy_reserved_bytes",
        "cacheproxy_leases",
        "cacheproxy_time_to_first_byte_seconds_bucket",
        "cacheproxy_fill_duration_seconds_count",
    }
    results = {
        dict(labels)["result"]
        for name, labels in printed(Board.create(1))
        if name == "cacheproxy_requests_total"
    }
    assert results == {"hit", "partial", "miss", "bypass", "refused", "error"}


def test_texts_can_be_printed_as_they_are() -> None:
    texts = {text for metric in LAYOUT.metrics for text in (metric.help, *sum(metric.cells, ()))}
    assert not [text for text in texts if set(text) & set('"\\\n')]


def test_each_is_told_for_what_it_is() -> None:
    families = text_string_to_metric_families(Board.create(1).render().decode())
    told = {family.name: (family.type, family.documentation) for family in families}
    assert told == {
        metric.name.removesuffix("_total"): (metric.kind, metric.help) for metric in LAYOUT.metrics
    }


def test_rows_are_summed_and_stay_apart() -> None:
    board = Board.create(3)
    for row in range(3):
        board.meter(row).inc(metrics.REQUESTS, row + 1, "hit")
        board.meter(row).set(metrics.LEASES, 10 * row)
    board.meter(1).add(metrics.LEASES, -4)
    figures = printed(board)
    assert figures["cacheproxy_requests_total", frozenset({("result", "hit")})] == 6
    assert figures["cacheproxy_requests_total", frozenset({("result", "miss")})] == 0
    assert figures["cacheproxy_leases", frozenset()] == 26
    assert board.total(metrics.REQUESTS) == board.total(metrics.REQUESTS, ("hit",)) == 6


def test_each_cell_belongs_to_one_metric() -> None:
    """Counting 1, 2, 3… into every cell and reading the same back shows that none overlaps."""
    board = Board.create(2)
    meter = board.meter(1)
    wanted: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for metric in metrics.METRICS:
        for labels in metric.cells:
            amount = float(len(wanted) + 1)
            wanted[metric, labels] = amount
            match metric:
                case Counter():
                    meter.inc(metric, amount, *labels)
                case Gauge():
                    meter.set(metric, amount, *labels)
                case Histogram():
                    for _ in range(int(amount)):
                        meter.observe(metric, 10.0 ** (len(labels) - 3), *labels)
                case _:
                    pytest.fail(f"{metric} is of an unknown kind")
    assert {key: board.total(*key) for key in wanted} == wanted


def test_histogram_is_cumulative_and_keeps_the_sum() -> None:
    board = Board.create(1)
    meter = board.meter(0)
    for seconds in (0.0005, 0.02, 0.02, 7200.0):
        meter.observe(metrics.TIME_TO_FIRST_BYTE, seconds, "miss")
    name = "cacheproxy_time_to_first_byte_seconds"
    figures = printed(board)

    def bucket(bound: str) -> float:
        return figures[f"{name}_bucket", frozenset({("result", "miss"), ("le", bound)})]

    assert [bucket(b) for b in ("0.0005", "0.01", "0.025", "3600.0", "+Inf")] == [1, 1, 3, 3, 4]
    assert figures[f"{name}_count", frozenset({("result", "miss")})] == 4
    assert figures[f"{name}_sum", frozenset({("result", "miss")})] == pytest.approx(7200.0405)
    assert figures[f"{name}_count", frozenset({("result", "hit")})] == 0


def test_only_codes_that_happened_are_printed() -> None:
    board = Board.create(1)
    board.meter(0).inc(metrics.PASSTHROUGH_REQUESTS, 1, "300")
    board.meter(0).inc(metrics.PASSTHROUGH_REQUESTS, 1, "599")
    codes = {
        dict(labels)["code"]: value
        for (name, labels), value in printed(board).items()
        if name == "cacheproxy_passthrough_requests_total"
    }
    assert codes == {"300": 1, "599": 1}


def test_a_forked_child_counts_into_the_parents_board_and_its_counters_outlive_it() -> None:
    board = Board.create(2)
    board.meter(0).inc(metrics.UPSTREAM_BYTES, 5)
    child = os.fork()
    if not child:
        meter = board.meter(1)
        meter.inc(metrics.UPSTREAM_BYTES, 2**40)
        meter.add(metrics.CONNECTIONS, 3)
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert board.total(metrics.UPSTREAM_BYTES) == 2**40 + 5
    assert board.total(metrics.CONNECTIONS) == 3
    board.zero_gauges(1)
    assert board.total(metrics.UPSTREAM_BYTES) == 2**40 + 5
    assert board.total(metrics.CONNECTIONS) == 0


def test_mistakes_are_refused() -> None:
    board = Board.create(1)
    with pytest.raises(KeyError):
        board.meter(0).inc(metrics.REQUESTS, 1, "hits")
    with pytest.raises(KeyError):
        board.meter(0).inc(metrics.REQUESTS)
    with pytest.raises(AssertionError):
        board.meter(0).inc(metrics.REQUESTS, -1, "hit")
    with pytest.raises(IndexError):
        board.meter(1)
    assert not any(board.total(metric) for metric in metrics.METRICS)


def test_every_metric_explains_itself() -> None:
    names = Tally(metric.name for metric in metrics.METRICS)
    assert set(names.values()) == {1}
    for metric in metrics.METRICS:
        assert metric.help.endswith(".")
        bare = metric.name.removesuffix("_total")
        assert not metric.unit or bare.endswith(f"_{metric.unit}")
        assert isinstance(metric, Counter) == metric.name.endswith("_total")


def test_equations_notice_what_does_not_add_up() -> None:
    board = Board.create(2)
    meter = board.meter(1)
    assert all(equation.holds(board.total) for equation in metrics.EQUATIONS)
    meter.inc(metrics.FILE_REQUESTS)
    broken = [e for e in metrics.EQUATIONS if not e.holds(board.total)]
    assert [str(e).split(" ")[0] for e in broken] == ["cacheproxy_file_requests_total"]
    meter.inc(metrics.REQUESTS, 1, "bypass")
    meter.observe(metrics.TIME_TO_FIRST_BYTE, 0.1, "bypass")
    assert all(equation.holds(board.total) for equation in metrics.EQUATIONS)
    meter.add(metrics.LEASES, 1)
    assert [str(e) for e in metrics.EQUATIONS if not e.holds(board.total)] == [
        "cacheproxy_leases = 0"
    ]


def test_equation_of_one_label_prints_it() -> None:
    equation = Equation([Term(metrics.REQUESTS, ("hit",))], "<=", [Term(metrics.FILE_REQUESTS)])
    assert str(equation) == "cacheproxy_requests_total{hit} <= cacheproxy_file_requests_total"
