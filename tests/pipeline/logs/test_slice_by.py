"""Which features an evaluation may be sliced by."""

import pytest

from pipeline.logs.checked import ConfigError
from pipeline.logs.dataset_config import DatasetConfig, load_dataset_config


def with_slices(*names):
    return DatasetConfig.from_dict(
        {**load_dataset_config("simulated").to_dict(), "slice_by": list(names)}
    )


def test_categories_of_users_and_context():
    assert with_slices("age_group", "hour").slice_by == ("age_group", "hour")


def test_categories_and_numbers_of_candidates():
    assert with_slices("topic", "duration_s").slice_by == ("topic", "duration_s")


@pytest.mark.parametrize(
    "name",
    ["user_id", "item_id", "registered_days", "no_such_feature"],
    ids=["an id", "an id of candidates", "a number of users", "unknown"],
)
def test_other_features_are_refused(name):
    with pytest.raises(ConfigError, match=r"slice_by\[1\].*a category, or a number of candidates"):
        with_slices("age_group", name)


def test_each_name_once():
    with pytest.raises(ConfigError, match=r"slice_by\[1\].*each name once"):
        with_slices("hour", "hour")
