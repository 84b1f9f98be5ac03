"""Who shares a step, and what is refused before anything is computed."""

import json

import pytest
import tensorflow as tf

from pipeline import training_strategy as strategies
from pipeline.configs import TrainerSettings
from pipeline.logs.checked import ConfigError
from pipeline.training_session import check_model_settings

TWO = {"chief": ["10.0.0.1:2222"], "worker": ["10.0.0.2:2222"]}


@pytest.fixture
def cluster(monkeypatch):
    def name(cluster):
        text = cluster if isinstance(cluster, str) else json.dumps({"cluster": cluster})
        monkeypatch.setenv("TF_CONFIG", text)

    monkeypatch.delenv("TF_CONFIG", raising=False)
    return name


@pytest.fixture
def gpus(monkeypatch):
    def number(count):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * count)

    number(0)
    return number


def test_one_worker_alone_is_this_process(cluster, gpus):
    assert strategies.workers_of_cluster() == 0
    assert strategies.training_strategy(1) is tf.distribute.get_strategy()
    # Vertex AI names a cluster of one for a job of one machine.
    cluster({"chief": ["10.0.0.1:2222"]})
    assert strategies.training_strategy(1) is tf.distribute.get_strategy()


def test_workers_of_a_host_are_gpus_where_there_are_any_and_else_processes(cluster, gpus):
    assert not strategies.needs_processes(1)
    assert strategies.needs_processes(2)
    gpus(2)
    assert not strategies.needs_processes(2)
    with pytest.raises(ConfigError, match=r"trainer\.workers: found 3; expected at most 2, the GP"):
        strategies.training_strategy(3)


def test_a_cluster_and_workers_of_this_host_are_two_answers_to_one_question(cluster, gpus):
    cluster(TWO)
    assert strategies.workers_of_cluster() == 2
    assert not strategies.needs_processes(2)
    with pytest.raises(ConfigError, match=r"trainer\.workers: found 4; expected 1, since TF_"):
        strategies.training_strategy(4)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("{worker: 1}", r"TF_CONFIG: found '\{worker: 1\}'; expected .*cluster"),
        ({"worker": ["a:1"], "ps": ["b:1"]}, "found 1 parameter servers; expected workers alone"),
    ],
)
def test_a_cluster_that_cannot_train_is_refused(cluster, found, message):
    cluster(found)
    with pytest.raises(ConfigError, match=message):
        strategies.workers_of_cluster()


def test_a_host_that_nobody_knows_is_named():
    addresses = ["127.0.0.1:2222", "worker-7.invalid:2222", "worker-8"]
    with pytest.raises(ConfigError, match=r"TF_CONFIG: found the workers worker-7\.invalid:2222, "):
        strategies.require_known_hosts(addresses, patience=0)
    strategies.require_known_hosts(addresses[:1], patience=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "SAQRec"}, r"trainer\.method: found 'SAQRec'; expected another method, or 1"),
        ({"batch_size": 33}, r"trainer\.batch_size: found 33; expected a multiple of the 2 work"),
        ({"answered_per_batch": 3}, r"trainer\.answered_per_batch: found 3; expected a multiple"),
    ],
)
def test_a_step_that_two_cannot_share_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_model_settings(TrainerSettings(workers=2, **changes))
