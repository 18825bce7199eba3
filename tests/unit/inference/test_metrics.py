"""The page of numbers."""

import threading

import pytest

from cloister.inference.metrics import Metrics


@pytest.mark.spec("SRV-91")
def test_the_page_has_counts_and_histograms() -> None:
    """Prometheus' text: types before samples, buckets that add up, labels in quotes."""
    metrics = Metrics()
    metrics.answered("digits", page="infer", status=200, seconds=0.002)
    metrics.answered("digits", page="infer", status=200, seconds=99.0)
    metrics.answered("", page="predict", status=404, seconds=0.0)
    metrics.computed("digits", queries=3, rows=4, seconds=0.001)
    metrics.disbelieved("digits", code="middle.wrong")
    metrics.refused(413)
    metrics.loaded("loaded")
    text = metrics.page({"queries_waiting": 2.0}).decode()
    lines = text.splitlines()
    assert 'cloister_queries_total{model="digits",page="infer",status="200"} 2' in lines
    assert 'cloister_queries_total{model="",page="predict",status="404"} 1' in lines
    assert 'cloister_query_seconds_bucket{model="digits",le="0.0025"} 1' in lines
    assert 'cloister_query_seconds_bucket{model="digits",le="30"} 1' in lines
    assert 'cloister_query_seconds_bucket{model="digits",le="+Inf"} 2' in lines
    assert 'cloister_query_seconds_count{model="digits"} 2' in lines
    assert 'cloister_computation_rows_bucket{model="digits",le="4"} 1' in lines
    assert 'cloister_computed_queries_total{model="digits"} 3' in lines
    assert 'cloister_middle_refused_total{model="digits",code="middle.wrong"} 1' in lines
    assert 'cloister_refused_total{status="413"} 1' in lines
    assert 'cloister_model_changes_total{outcome="loaded"} 1' in lines
    assert "cloister_queries_waiting 2" in lines
    assert lines.count("# TYPE cloister_query_seconds histogram") == 1
    assert text.endswith("\n")


def test_threads_count_together() -> None:
    """Nothing is lost."""
    metrics = Metrics()

    def work() -> None:
        for _ in range(500):
            metrics.refused(503)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b'cloister_refused_total{status="503"} 2000\n' in metrics.page({})
