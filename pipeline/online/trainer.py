"""TFX Trainer's entry point for a span: the model in memory learns it, in time order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.configs import MODEL_NAME
from pipeline.online.learner import learner_of
from pipeline.serving_requests import RequestBuilder, read_signatures, read_slates, write_warmup
from pipeline.trainer import train_slates, write_record
from pipeline.training_session import split_files


def run_fn(fn_args: Any) -> None:
    """Trains, leaves a checkpoint beside the served model, and a record for the report.

    Args:
        fn_args: TFX's `FnArgs` with a `base_model`, and `custom_config` = `{"learner": name}`.
    """
    learner = learner_of(fn_args.custom_config["learner"])
    model = os.path.dirname(fn_args.serving_model_dir)
    dense_files = split_files(fn_args.train_files, "train")
    record = learner.learn(
        base=os.path.dirname(fn_args.base_model),
        model=model,
        dense_files=dense_files,
        answered_files=split_files(fn_args.train_files, "answered"),
        slates=train_slates(dense_files),
    )
    write_record(fn_args.model_run_dir, learner.session, record)
    learner.export(fn_args.serving_model_dir)
    saved_model = Path(fn_args.serving_model_dir)
    warmup_requests = learner.settings.infra_check.warmup_requests
    if not record.steps:  # an empty span has no request to warm up with, and is not pushed
        return
    slates = read_slates(os.path.dirname(dense_files[0]), warmup_requests)
    builder = RequestBuilder(MODEL_NAME, read_signatures(saved_model))
    requests = [build([slate]) for slate in slates for build in (builder.raw, builder.examples)]
    write_warmup(saved_model, requests[:warmup_requests])
