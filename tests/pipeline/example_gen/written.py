"""What lies in the folder of an Examples artifact."""

import tensorflow as tf


def files_under(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def examples_in(folder, split):
    """Each example of a split as a dict of lists, in the order of the files and records."""
    files = sorted(str(path) for path in (folder / f"Split-{split}").iterdir())
    records = (record for file in files for record in tf.data.TFRecordDataset(file))
    for record in records:
        features = tf.train.Example.FromString(record.numpy()).features.feature
        yield {
            name: list(getattr(feature, feature.WhichOneof("kind")).value)
            for name, feature in features.items()
        }
