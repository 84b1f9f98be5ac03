"""One feature's description: defaults by kind, errors by name, equality by content."""

import pytest

from easq_keras.layers import FeatureSpec


@pytest.mark.parametrize(("kind", "dim"), [("id", 64), ("categorical", 32), ("bucket", 8)])
def test_embedding_widths_follow_the_papers_64_32_8(kind: str, dim: int) -> None:
    assert FeatureSpec("f", kind, num_buckets=5).dim == dim
    assert FeatureSpec("f", kind, num_buckets=5, dim=3).dim == 3


def test_a_numeric_feature_is_one_wide_and_has_no_table() -> None:
    spec = FeatureSpec("f", "numeric")
    assert spec.dim == 1
    assert not spec.embedded


def test_specs_are_equal_if_their_arguments_are() -> None:
    spec = FeatureSpec("f", "id", num_buckets=5, level="user")
    same = FeatureSpec.from_config(spec.get_config())
    assert same == spec
    assert hash(same) == hash(spec)
    assert spec != FeatureSpec("f", "id", num_buckets=6, level="user")
    assert spec != "f"
    assert "num_buckets=5" in repr(spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "`name` must be a non-empty string.*name=''"),
        ({"name": 3}, "name=3"),
        ({"name": "mask"}, "other than 'mask'"),
        ({"kind": "text"}, "`kind` must be one of 'id', .*kind='text'"),
        ({"level": "item"}, "`level` must be one of 'user', 'candidate'.*level='item'"),
        ({"num_buckets": None}, "num_buckets of 'f'.*=None"),
        ({"num_buckets": 0}, "num_buckets of 'f'.*=0"),
        ({"dim": -1}, "dim of 'f'.*=-1"),
        ({"dim": True}, "dim of 'f'.*=True"),
        ({"kind": "numeric"}, "no embedding.*num_buckets=5"),
        ({"kind": "numeric", "num_buckets": None, "dim": 4}, "no embedding.*dim=4"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSpec(**{"name": "f", "kind": "id", "num_buckets": 5, **arguments})
