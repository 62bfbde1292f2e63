"""What `python -m bench` makes of its rounds, where not every target is in each of them."""

from bench.figures import Results, judged
from bench.samples import Sample

LOADED = [f"S-{mode}-{n}" for mode in ("simple", "prepared") for n in ("c8", "c32")]


def sampled(case: str, target: str, values: dict[int, float], measure: str) -> list[Sample]:
    return [Sample(case, target, number, {measure: value}) for number, value in values.items()]


def test_a_ratio_is_of_the_rounds_that_have_both() -> None:
    results = Results(
        [
            *sampled("S-simple-c8", "governed", {0: 8.0, 1: 1.0, 5: 9.0}, "tps"),
            *sampled("S-simple-c8", "pgbouncer", {0: 10.0, 5: 10.0}, "tps"),
        ]
    )
    found = results.ratio("S-simple-c8", "governed", "pgbouncer", "tps")
    assert found == {"median": 0.85, "low": 0.8, "high": 0.9, "rounds": 2}


def test_the_lowest_case_is_the_figure() -> None:
    samples = []
    for number, case in enumerate(LOADED):
        samples += sampled(case, "governed", {0: 10.0 - number}, "tps")
        samples += sampled(case, "pgbouncer", {0: 10.0}, "tps")
    samples += sampled("S-simple-c8-tls", "governed", {0: 1.0}, "tps")
    samples += sampled("S-simple-c8-tls", "pgbouncer", {0: 10.0}, "tps")
    assert Results(samples).figures()["qps_ratio"]["median"] == 0.7


def test_what_is_added_is_beyond_direct() -> None:
    samples = [
        *sampled("select1-one-cpu", "direct", {0: 13.0}, "p50_us"),
        *sampled("select1-one-cpu", "governed", {0: 28.0}, "p50_us"),
        *sampled("select1-one-cpu", "pgbouncer", {0: 25.0}, "p50_us"),
    ]
    assert Results(samples).figures()["added_p50_ratio"]["median"] == 1.25


def test_what_keys_are_made_of_is_in_every_round() -> None:
    for case in LOADED:
        for target in ("governed", "permissive", "pgbouncer"):
            assert judged(case, target, "pgbouncer")
        for target in ("direct", "haproxy", "asking", "pgbouncer-tx"):
            assert not judged(case, target, "pgbouncer")
    assert judged("select1-one-cpu", "direct", "pgbouncer")
    assert judged("canned-text-plain", "governed-canned", "pgbouncer")
    assert not judged("canned-text-plain", "pgbouncer-canned", "pgbouncer")
    assert judged("S-prepared-c8", "haproxy", "haproxy")
    assert not judged("S-simple-c1", "governed", "pgbouncer")
    assert not judged("S-simple-c8-tls", "governed", "pgbouncer")
