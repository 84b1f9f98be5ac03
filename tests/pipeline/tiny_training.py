"""What TFX hands to the Trainer and the Tuner, made of hand-written slates (see conftest)."""

import dataclasses
from types import SimpleNamespace

import tensorflow as tf

from pipeline.configs import TrainerSettings
from tests.pipeline.conftest import TINY_SLATES, slate_example

SMALL = '{"units": 8, "num_heads": 2, "num_experts": 2, "expert_hidden_dim": 4}'


def _write_split(folder, name, examples):
    split = folder / f"Split-{name}"
    split.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(split / "slates-00000.tfrecord")) as writer:
        for example in examples:
            writer.write(example)
    return f"{split}/*"


def _answered_example(index, arrival):
    example = tf.train.Example.FromString(slate_example(index, *TINY_SLATES[index % 2]))
    example.features.feature["pair_group"].int64_list.value[:] = [index]
    example.features.feature["group_time"].int64_list.value[:] = [arrival]
    return example.SerializeToString()


def tiny_fn_args(folder, dataset, transform_dir, slates):
    """Dense slates as given, and two answered ones; arrivals are at 1.5 s and 4.5 s."""
    examples = folder / "examples"
    dense = [slate_example(index, *slate) for index, slate in enumerate(slates)]
    answered = [_answered_example(0, 1500), _answered_example(1, 4500)]
    files = [_write_split(examples, "train", dense), _write_split(examples, "answered", answered)]
    held_out = [slate_example(index, *slate) for index, slate in enumerate(TINY_SLATES)]
    (examples / "counts.json").write_text(f'{{"slates": {{"train": {len(dense)}}}}}')
    settings = TrainerSettings(
        model=SMALL, batch_size=4, answered_per_batch=3, steps_per_execution=2, jit_compile=False
    )
    return SimpleNamespace(
        train_files=files,
        eval_files=[_write_split(examples, "eval", held_out)],
        transform_graph_path=transform_dir,
        serving_model_dir=str(folder / "model" / "Format-Serving"),
        model_run_dir=str(folder / "model_run"),
        working_dir=str(folder / "working"),
        base_model=None,
        hyperparameters=None,
        custom_config={
            "dataset_config": dataset.to_json(),
            "trainer": dataclasses.asdict(settings),
        },
    )
