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


@pytest.mark.parametrize(
    "name",
    ["user_id", "registered_days", "topic", "no_such_feature"],
    ids=["an id", "a number", "of candidates", "unknown"],
)
def test_other_features_are_refused(name):
    with pytest.raises(ConfigError, match=r"slice_by\[1\].*a categorical feature of level user"):
        with_slices("age_group", name)


def test_each_name_once():
    with pytest.raises(ConfigError, match=r"slice_by\[1\].*each name once"):
        with_slices("hour", "hour")
