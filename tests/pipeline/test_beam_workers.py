"""What is said when a worker process of Beam dies."""

import threading
from types import SimpleNamespace

import pytest
from apache_beam.runners.portability import local_job_service

from pipeline import beam_workers


@pytest.fixture
def handler(monkeypatch):
    """A worker whose channel ends before its process does, and the signal for its end."""
    may_end = threading.Event()

    class Worker:
        def __init__(self, *_):
            pass

        def run(self):
            assert may_end.wait(60)
            raise RuntimeError("exit code 137")

    def input_elements(instruction):
        yield f"data of {instruction}"
        threading.Timer(0.2, may_end.set).start()
        raise RuntimeError("Channel closed prematurely.")

    monkeypatch.setattr(local_job_service, "SubprocessSdkWorker", Worker)
    return SimpleNamespace(
        _worker_command_line=b"",
        control_address="",
        provision_info=None,
        worker_id="1",
        data_conn=SimpleNamespace(input_elements=input_elements, close=lambda: None),
        control_conn=SimpleNamespace(push=lambda _: None, _futures_by_id={}),
    )


def test_where_its_channel_ends_first_the_death_of_the_process_is_told(handler):
    beam_workers._start_worker(handler)
    received = handler.data_conn.input_elements("one")
    assert next(received) == "data of one"
    with pytest.raises(RuntimeError, match=r"a Beam worker process died \(exit code 137\)"):
        next(received)
    handler.worker_thread.join()
