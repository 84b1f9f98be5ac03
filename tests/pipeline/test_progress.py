"""Progress is one log line every few seconds, the first and the last always."""

import logging

from pipeline.progress import LOGGER, ProgressReporter


def test_only_the_first_and_the_last_state_of_quick_work_are_reported(caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        reporter = ProgressReporter("training", "slates", total=300)
        for done in (100, 200):
            reporter.update(done)
        reporter.update(300, finished=True)
    states = [record.progress for record in caplog.records]
    assert [(state.done, state.total, state.unit) for state in states] == [
        (100, 300, "slates"),
        (300, 300, "slates"),
    ]
    assert caplog.messages[0].startswith("training: 100 of 300 slates")
    assert "left" in caplog.messages[0]
    assert "left" not in caplog.messages[1]


def test_work_of_unknown_length_has_no_end(caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        ProgressReporter("reading", "rows").update(10)
    assert caplog.messages[0].startswith("reading: 10 rows")
    assert "left" not in caplog.messages[0]
