"""How long an answer takes to be heard: from its landing to the first request served with it.

Measured from outside, as a client would: a Predict request is sent again and again until the answer
comes from the new version.
"""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.configs import MODEL_NAME
from pipeline.online import series
from pipeline.online.spans import SUCCESS_FILE, Span, data_files
from pipeline.online.state import OnlineFolder, artifact_uri
from pipeline.server_process import ServerProcess, ServingError
from pipeline.serving_requests import RequestBuilder, read_signatures, read_slates

_POLL_SECONDS = 0.05


def landed_at(span: Span) -> float:
    """When a span became complete, in seconds since 1970."""
    success = span.path / SUCCESS_FILE
    files = [success] if success.exists() else [span.path, *data_files(span.path)]
    return max(path.stat().st_mtime for path in files)


def first_served(
    server: ServerProcess, saved_model: Path, split: Path, *, timeout_seconds: float
) -> float | None:
    """Asks until a version is served.

    Args:
        server: Polls the serving folder.
        saved_model: The version's folder there.
        split: A split with a slate to ask about.
        timeout_seconds: When to give up.

    Returns:
        Seconds since 1970 of the first answer of this version or a later one; None: it did not
        come in time.
    """
    builder = RequestBuilder(MODEL_NAME, read_signatures(saved_model))
    request = builder.raw(read_slates(str(split), 1))
    ends = time.monotonic() + timeout_seconds
    while time.monotonic() < ends:
        try:
            response = server.predict(request)
        except ServingError:
            return None
        if response.model_spec.version.value >= int(saved_model.name):
            return time.time()
        time.sleep(_POLL_SECONDS)
    return None


def measure_freshness(
    folder: OnlineFolder,
    sequence: int,
    version: int,
    server: ServerProcess,
    *,
    arrived: float,
    timeout_seconds: float = 60.0,
) -> float | None:
    """Seconds from the arrival of a span to the first request served with it; kept in the series.

    Args:
        folder: Of the online run.
        sequence: Of the span that was learnt.
        version: The version that was pushed after it.
        server: Polls the serving folder.
        arrived: When the span arrived, in seconds since 1970.
        timeout_seconds: When to give up.
    """
    served = first_served(
        server,
        folder.serving_dir / str(version),
        Path(artifact_uri(folder.span_root(sequence), "SpanExampleGen", "examples"))
        / "Split-train",
        timeout_seconds=timeout_seconds,
    )
    if served is None:
        return None
    seconds = served - arrived
    series.append(
        folder.freshness_file,
        {"sequence": sequence, "version": version, "seconds": round(seconds, 3)},
    )
    return seconds
