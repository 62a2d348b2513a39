"""Work for Spark beside what the caller does."""

import threading

import pytest

from evaluation.beside import beside


def test_the_result_of_work_is_in_its_future(spark):
    with beside(spark) as start:
        assert start(lambda n: spark.range(n).count(), 7).result() == 7


def test_work_is_done_in_another_thread(spark):
    with beside(spark) as start:
        assert start(threading.get_ident).result() != threading.get_ident()


def test_work_that_fails_raises_where_its_result_is_asked_for(spark):
    with beside(spark) as start:
        failed = start(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            failed.result()


def test_what_has_not_begun_when_the_block_raises_is_left_out(spark):
    begun, later = [], []

    def stopped():
        go = threading.Event()
        with beside(spark) as start:
            start(go.wait, 5)
            later.append(start(begun.append, 1))
            threading.Timer(0.2, go.set).start()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert later[0].cancelled()
    assert begun == []


def test_what_runs_when_the_block_ends_is_waited_for(spark):
    done = []
    with beside(spark) as start:
        start(lambda: (threading.Event().wait(0.2), done.append(1)))
    assert done == [1]
