"""The page says what works: its settings are accepted, its calls exist."""

import ast
import inspect
import re
from pathlib import Path

import kfp
import pytest
import yaml
from google.cloud import aiplatform

from pipeline.kubeflow.settings import KubeflowSettings
from pipeline.logs.checked import build

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "kubeflow.md").read_text(encoding="utf-8")
CALLED = {
    "Client": kfp.Client,
    "create_run_from_pipeline_package": kfp.Client.create_run_from_pipeline_package,
    "create_experiment": kfp.Client.create_experiment,
    "create_recurring_run": kfp.Client.create_recurring_run,
    "PipelineJob": aiplatform.PipelineJob,
    "submit": aiplatform.PipelineJob.submit,
    "create_schedule": aiplatform.PipelineJob.create_schedule,
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_settings_of_the_page_are_accepted(text):
    assert build(KubeflowSettings, yaml.safe_load(text)).window_spans == 7


def test_the_calls_of_the_page_have_these_arguments():
    calls = [
        node
        for text in blocks("python")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    for call in calls:
        names = inspect.signature(CALLED[call.func.attr]).parameters
        assert {keyword.arg for keyword in call.keywords} <= set(names)
    assert {call.func.attr for call in calls} == set(CALLED)
