"""Compact tables: the rows that are read, with the values they would have had."""

import keras
import numpy as np
import pytest

from easq_keras.models import build_method
from experiments.compact_tables import CompactCell
from experiments.laboratory import made_batches
from pipeline.training_session import feature_specs
from tests.experiments.test_laboratory import SMALL


@pytest.fixture(scope="module")
def compact(cell):
    return CompactCell.of(cell)


def test_ids_that_no_slate_reads_have_no_row(cell, compact):
    sizes = dict(zip([spec.name for spec in compact.whole], compact.table_sizes, strict=True))

    assert compact.whole == feature_specs(cell.config)
    assert sizes["item_id"] == sizes["user_id"] == 512  # 200 items and 20 users, rounded up
    assert sizes["topic"] == 64  # a small table stays whole
    assert set(compact.rows) == {"item_id", "user_id", "author_id"}


def test_every_slate_reads_the_row_it_read_before(cell, compact):
    before = (cell.train, cell.answered, cell.validation[0], cell.test[0])
    after = compact.cell
    for old, new in zip(
        before, (after.train, after.answered, after.validation[0], after.test[0]), strict=True
    ):
        assert old.keys() == new.keys()
        for name, values in old.items():
            rows = compact.rows.get(name)
            assert new[name].dtype == values.dtype
            assert np.array_equal(new[name] if rows is None else rows[new[name]], values)


def test_row_0_stays_row_0(compact):
    """It is that of missing values and padding."""
    assert all(rows[0] == 0 for rows in compact.rows.values())


@pytest.mark.parametrize("method", ["EASQ", "EMER_s-level"])
def test_a_compact_model_learns_what_the_whole_one_learns(cell, compact, method):
    settings = {**dict(SMALL), "learning_rate": 0.03}
    whole = build_method(method, compact.whole, **settings)
    narrow = build_method(method, compact.features, **settings)
    compact.give_rows(whole, narrow)
    scores = {}
    for model, of in ((whole, cell), (narrow, compact.cell)):
        batches = made_batches(of, 32, 8, True, 0)
        model.compile(answered_rows=batches.answered_rows, run_eagerly=True)
        before = np.asarray(model(of.test[0])["score"])
        model.fit(batches.dataset, verbose=0)
        scores[model] = before, np.asarray(model(of.test[0])["score"])

    for of_whole, of_narrow in zip(scores[whole], scores[narrow], strict=True):
        assert np.allclose(of_whole, of_narrow, atol=1e-5)
    assert not np.allclose(*scores[whole], atol=1e-2)
    table = keras.ops.convert_to_numpy(whole.embedding.tables["item_id"].embeddings)
    assert np.allclose(
        table[compact.rows["item_id"]], narrow.embedding.tables["item_id"].embeddings, atol=1e-5
    )
