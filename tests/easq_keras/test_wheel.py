"""The wheel, used from an empty folder by a program that has the library's own needs and no TFX."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What the extras add: the library must not need any of it.
OF_THE_EXTRAS = (
    *("tfx", "tfx_bsl", "tensorflow_transform", "tensorflow_data_validation"),
    *("tensorflow_model_analysis", "ml_metadata", "apache_beam", "keras_tuner", "tf_keras"),
    *("tensorflow_recommenders", "tensorflow_serving", "pyarrow", "click", "jinja2"),
)
PROGRAM = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OF_THE_EXTRAS}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import keras
import numpy as np
import easq_keras
from easq_keras.checkpoint import load_checkpoint, save_checkpoint
from easq_keras.export import scoring_model
from easq_keras.layers import FeatureSpec
from easq_keras.models import EASQ

model = EASQ.from_preset(
    "recommended", [FeatureSpec("item", "categorical", num_buckets=50)], units=8, num_heads=2
)
model.compile(answered_rows=1, run_eagerly=True)
x = {{"item": np.arange(8).reshape(2, 4)}}
y = {{
    "behaviour": np.array([[2, 1, 0, -1], [-1] * 4]),
    "answer": np.array([[-1] * 4, [1, -1, -1, -1]]),
}}
model.fit(x, y, verbose=0)
save_checkpoint(model, "checkpoint")
load_checkpoint(model, "checkpoint")
model.save("model.keras")
again = keras.saving.load_model("model.keras")
np.testing.assert_allclose(scoring_model(again)(x), model(x)["score"], atol=1e-6)
own = [name for name in sys.modules if name in ("pipeline", "serving", "cli", "experiments")]
print(easq_keras.__file__, own)
"""


@pytest.mark.slow
def test_the_wheel_is_enough(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(tmp_path / "dist")], cwd=ROOT, check=True)
    [wheel] = (tmp_path / "dist").glob("easq_keras-*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=empty,
        env={"PYTHONPATH": str(site), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == f"{site / 'easq_keras' / '__init__.py'} []"
