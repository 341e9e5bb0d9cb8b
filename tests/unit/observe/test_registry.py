import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.observe.registry import LARGEST_FAMILY, Family


def test_a_counter_counts_by_labels_and_never_down() -> None:
    family = Family("counter", "jobs", "", ("result",))
    family.add(1, "passed")
    family.add(2, "passed")
    family.add(1, "failed")
    assert [(sample.labels, sample.value) for sample in family.samples()] == [
        ((("result", "passed"),), 3),
        ((("result", "failed"),), 1),
    ]
    with pytest.raises(ValueError, match="cannot go down"):
        family.add(-1, "passed")


def test_a_wrong_number_of_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"labels \(\) given, \('result',\) wanted"):
        Family("counter", "jobs", "", ("result",)).add(1)


def test_label_values_from_outside_cannot_fill_the_memory() -> None:
    family = Family("counter", "retries", "", ("cause",))
    for number in range(LARGEST_FAMILY * 3):
        family.add(1, f"cause {number}")
    samples = family.samples()
    assert len(samples) == LARGEST_FAMILY + 1
    assert samples[-1].labels == (("cause", "other"),)
    assert samples[-1].value == 2 * LARGEST_FAMILY
    assert sum(sample.value for sample in samples) == 3 * LARGEST_FAMILY


def test_a_replaced_gauge_forgets_what_is_no_more() -> None:
    family = Family("gauge", "slots", "", ("state",))
    family.set(3, "free")
    family.replace([(("broken",), 2.0)])
    assert [(sample.labels, sample.value) for sample in family.samples()] == [((("state", "broken"),), 2.0)]


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histograms_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    family = Family("histogram", "seconds", "", (), (1, 10))
    for value in values:
        family.observe(value)
    (sample,) = family.samples()
    assert sample.buckets == tuple(
        (bound, sum(value <= bound for value in values)) for bound in (1, 10, math.inf)
    )
    assert sample.count == len(values)
    assert sample.value == pytest.approx(sum(values))


def test_what_is_no_number_is_not_observed() -> None:
    family = Family("histogram", "seconds", "", (), (1,))
    family.observe(math.nan)
    assert family.samples()[0].count == 0


def test_no_count_is_lost_between_threads() -> None:
    family = Family("counter", "requests", "", ("side",))

    def count() -> None:
        for _ in range(5000):
            family.add(1, "master")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert family.samples()[0].value == 20_000
