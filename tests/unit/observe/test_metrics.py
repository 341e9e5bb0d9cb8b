import re

from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.observe.metrics import Metrics
from pseudoworker.observe.snapshot import ProcessSnapshot, SlotSnapshot

SNAPSHOT = ProcessSnapshot(
    1, 1700000000.0, "0.1", "http://m", "http://s", (SlotSnapshot(1, 1, "free"), SlotSnapshot(2, 2, "broken"))
)

# One line of the text format, after its grammar in Prometheus' documentation of the exposition formats.
_PROMETHEUS_LINE = re.compile(
    r"(# (HELP|TYPE) [a-z_]+ .*"
    r'|[a-z_]+(\{[a-z]+="([^"\\\n]|\\["\\n])*"(,[a-z]+="([^"\\\n]|\\["\\n])*")*\})?'
    r" ([+-]Inf|NaN|-?[0-9.e+-]+))"
)
# One line of the line protocol: measurement, tags, a blank, fields.
_WORD = r"([^\s,=\\]|\\[,= ])+"
_INFLUXDB_LINE = re.compile(
    rf"[a-z_]+(,{_WORD}={_WORD})* [a-z_0-9.+]+=[0-9.e+-]+i?(,[a-z_0-9.+]+=[0-9.e+-]+i?)*"
)


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_request_is_counted_by_side_kind_and_outcome() -> None:
    metrics = Metrics()
    master = metrics.side("master")
    master.request("POST", "status", 0.2, 100, 20, None)
    master.request("POST", "status", 0.2, 100, 20, None)
    master.request("POST", "status", 9.0, 100, 0, "Busy")
    text = metrics.render_prometheus()
    assert 'pseudoworker_requests_total{side="master",kind="status",outcome="ok"} 2\n' in text
    assert 'pseudoworker_requests_total{side="master",kind="status",outcome="Busy"} 1\n' in text
    assert 'pseudoworker_sent_bytes_total{side="master",kind="status"} 300\n' in text
    assert 'pseudoworker_received_bytes_total{side="master",kind="status"} 40\n' in text
    assert 'pseudoworker_request_seconds_bucket{side="master",kind="status",le="0.3"} 2\n' in text
    assert 'pseudoworker_request_seconds_bucket{side="master",kind="status",le="+Inf"} 3\n' in text
    assert 'pseudoworker_request_seconds_sum{side="master",kind="status"} 9.4\n' in text


def test_jobs_retries_relays_queue_and_skew_are_shown() -> None:
    metrics = Metrics()
    metrics.job_ended("passed", 75)
    metrics.job_ended("", 75)
    metrics.retry("slave", "READ", "Unreachable")
    metrics.relay_latency(1.4)
    metrics.relayed("image", 5000)
    metrics.slave_queue(3)
    metrics.clock_skew("slave", -2.5)
    text = metrics.render_prometheus(SNAPSHOT)
    for line in (
        'pseudoworker_jobs_total{result="passed"} 1',
        'pseudoworker_jobs_total{result="computed"} 1',
        'pseudoworker_retries_total{side="slave",call="READ",cause="Unreachable"} 1',
        'pseudoworker_relay_seconds_bucket{le="2"} 1',
        'pseudoworker_relay_seconds_bucket{le="1"} 0',
        'pseudoworker_relayed_bytes_total{what="image"} 5000',
        "pseudoworker_slave_queue_length 3",
        'pseudoworker_clock_skew_seconds{side="slave"} -2.5',
        'pseudoworker_slots{state="free"} 1',
        'pseudoworker_slots{state="broken"} 1',
        'pseudoworker_slots{state="working"} 0',
        "pseudoworker_start_time_seconds 1700000000",
    ):
        assert f"\n{line}\n" in text


def test_totals_are_counts_by_name() -> None:
    metrics = Metrics()
    metrics.job_ended("passed", 1)
    metrics.job_ended("passed", 1)
    metrics.job_ended("failed", 1)
    metrics.relayed("image", 5)
    metrics.relayed("asset", 7)
    metrics.request("master", "status", 1, 1, 1, None)
    assert metrics.totals() == {
        "jobs_passed": 2, "jobs_failed": 1, "bytes_relayed": 12, "requests": 1, "retries": 0
    }  # fmt: skip


def test_the_age_of_the_heartbeat_is_that_of_the_slot_silent_longest() -> None:
    clock = _Clock()
    metrics = Metrics(clock)
    assert metrics.heartbeat_age() == 0
    metrics.beat(1)
    clock.now += 30
    metrics.beat(2)
    clock.now += 10
    assert metrics.heartbeat_age() == 40
    assert "pseudoworker_heartbeat_age_seconds 40\n" in metrics.render_prometheus()
    metrics.forget_beat(1)
    assert metrics.heartbeat_age() == 10
    metrics.forget_beat(7)


def test_telegraf_gets_one_line_per_sample_with_all_tags() -> None:
    metrics = Metrics()
    metrics.job_ended("passed", 75)
    metrics.relay_latency(1.5)
    lines = metrics.render_influxdb(SNAPSHOT, {"slave": "http://a b,c=d"}).splitlines()
    assert r"pseudoworker_jobs,slave=http://a\ b\,c\=d,result=passed total=1" in lines
    assert r"pseudoworker_slots,slave=http://a\ b\,c\=d,state=broken value=1" in lines
    (relay,) = [line for line in lines if line.startswith("pseudoworker_relay_seconds,")]
    assert relay.startswith(r"pseudoworker_relay_seconds,slave=http://a\ b\,c\=d count=1i,sum=1.5,le_0.1=0i,")


@given(st.text(), st.text(), st.floats(allow_nan=False))
def test_whatever_the_labels_hold_each_line_stays_well_formed(kind: str, error: str, seconds: float) -> None:
    metrics = Metrics()
    metrics.request("slave", kind, seconds, 1, 2, error)
    metrics.retry("slave", kind, error)
    for line in metrics.render_prometheus().removesuffix("\n").split("\n"):
        assert _PROMETHEUS_LINE.fullmatch(line), line
    for line in metrics.render_influxdb(None, {"kind": kind}).removesuffix("\n").split("\n"):
        assert _INFLUXDB_LINE.fullmatch(line), line
