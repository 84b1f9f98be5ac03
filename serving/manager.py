"""Keeps the right versions of every model loaded, and swaps them without losing a request.

A version is loaded and warmed up, then published in a new immutable map; only then does the one
it replaces leave the map, finish the requests under way on it and get closed.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving.errors import ServingError, failed_precondition, invalid, not_found
from serving.loader import Loader
from serving.model_config import check_model_config
from serving.options import ServerOptions
from serving.servable import Servable
from serving.versions import choose_versions, list_versions

log = logging.getLogger(__name__)

START = get_model_status_pb2.ModelVersionStatus.START
LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
UNLOADING = get_model_status_pb2.ModelVersionStatus.UNLOADING
END = get_model_status_pb2.ModelVersionStatus.END


@dataclass
class VersionState:
    """Where one version of one model is on its way from START to END."""

    model: str
    version: int
    path: str
    state: int = START
    wanted: bool = True
    tried: bool = False
    error: ServingError | None = None
    servable: Servable | None = None

    def __str__(self) -> str:
        return f"{{name: {self.model} version: {self.version}}}"


@dataclass(frozen=True)
class _Published:
    """What can be asked for right now. Replaced as a whole, never changed."""

    latest: Mapping[str, Servable] = field(default_factory=dict)
    specific: Mapping[tuple[str, int], Servable] = field(default_factory=dict)


class ModelManager:
    """Loads, publishes and unloads versions as the file system and the configuration change.

    Args:
        options: polling, retries, threads and label rules.
        loader: makes servables of folders.
        observe_load: called with (path, "success" or "fail") after each load attempt.
    """

    def __init__(
        self,
        options: ServerOptions,
        loader: Loader,
        observe_load: Callable[[str, str], None] = lambda path, outcome: None,
    ) -> None:
        self._options = options
        self._loader = loader
        self._observe_load = observe_load
        self._changed = threading.Condition()
        self._config_lock = threading.Lock()
        self._models: dict[str, Any] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._states: dict[str, dict[int, VersionState]] = {}
        self._published = _Published()
        self._stopping = threading.Event()
        # A load that waits for its next try holds no slot: other models go on loading.
        self._load_slots = threading.Semaphore(max(options.num_load_threads, 1))
        self._loads: list[threading.Thread] = []
        self._unload_slots = threading.Semaphore(max(options.num_unload_threads, 1))
        self._unloads: list[threading.Thread] = []
        self._poller = threading.Thread(target=self._poll_forever, name="poll", daemon=True)

    # Life -------------------------------------------------------------------------------------

    def start(self, config: Any) -> None:
        """Load the configured models and keep watching them.

        Returns when every model has an available version and every version found now was tried
        once. As in TensorFlow Serving, a model whose folder holds no version yet is waited for.

        Raises:
            ServingError: the configuration is wrong, or a model failed to load for good.
        """
        self._set_config(config)
        if self._options.file_system_poll_wait_seconds >= 0:
            self._poll()
        self._poller.start()
        with self._config_lock:
            models = set(self._models)
        self._wait_for(models, "servable", lambda: not self._stopping.is_set())

    def give_up_waiting(self) -> None:
        """End every wait for a version: the server is about to stop."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def stop(self, grace_seconds: float) -> bool:
        """Unload everything; requests under way are finished first.

        Returns:
            Whether they did finish in so many seconds.
        """
        self.give_up_waiting()
        ends = time.monotonic() + grace_seconds
        for load in self._loads:
            load.join(max(ends - time.monotonic(), 0))
        with self._changed:
            for states in self._states.values():
                for state in states.values():
                    state.wanted = False
                    if state.state == AVAILABLE:
                        self._unload(state)
        for unload in self._unloads:
            unload.join(max(ends - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._loads + self._unloads)

    @property
    def stopping(self) -> bool:
        """Whether the server is about to stop."""
        return self._stopping.is_set()

    def wait_stopping(self, seconds: float) -> bool:
        """Wait until the server is about to stop, but no longer than so many seconds."""
        return self._stopping.wait(seconds)

    def reload(self, config: Any, is_wanted: Callable[[], bool]) -> None:
        """Replace the configuration, and wait until models new in it have an available version.

        Args:
            is_wanted: asked while waiting; the wait ends once it says no (the caller is gone).

        Raises:
            ServingError: the new configuration is refused and the old one stays, or a new model
                failed to load.
        """
        kind = config.WhichOneof("config")
        if kind is None:
            log.info("Taking no action for empty config.")
            return
        before = set(self._models)
        self._set_config(config)
        self._poll()
        self._wait_for(set(self._models) - before, "model", is_wanted)

    def _set_config(self, config: Any) -> None:
        models = check_model_config(config)
        with self._config_lock:
            self._labels = self._checked_labels(models)
            self._models = models

    def _checked_labels(self, models: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for name, model in models.items():
            for label, version in sorted(model.version_labels.items()):
                known = self._labels.get(name, {}).get(label)
                free = self._options.force_allow_any_version_labels_for_unavailable_models or (
                    self._options.allow_version_labels_for_unavailable_models
                    and known in (None, version)
                )
                if not free and (name, version) not in self._published.specific:
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {name}, which is "
                        "not currently available for inference"
                    )
                labels.setdefault(name, {})[label] = version
        return labels

    def _wait_for(self, models: set[str], noun: str, is_wanted: Callable[[], bool]) -> None:
        with self._changed:
            while is_wanted() and not self._stopping.is_set():
                missing = [name for name in models if name not in self._published.latest]
                if not missing and all(
                    state.tried
                    for name in models
                    for state in self._states[name].values()
                    if state.wanted
                ):
                    return
                failed = [
                    state
                    for name in missing
                    for state in self._states.get(name, {}).values()
                    if state.wanted
                ]
                names = {state.model for state in failed}
                if (
                    missing
                    and names == set(missing)
                    and all(state.state == END and state.error for state in failed)
                ):
                    texts = ", ".join(
                        f"{{{state} due to error: {state.error}}}" for state in failed
                    )
                    raise ServingError(
                        grpc.StatusCode.UNKNOWN,
                        f"{len(failed)} {noun}(s) did not become available: {{{texts}, }}",
                    )
                self._changed.wait(0.2)

    # Requests ---------------------------------------------------------------------------------

    def acquire(self, spec: Any) -> Servable:
        """The version a `ModelSpec` asks for, counted as in use; leave it with `with`.

        Raises:
            ServingError: INVALID_ARGUMENT without a model name or for an unknown label, NOT_FOUND
                for a model or version that is not loaded.
        """
        name = spec.name
        if not name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        while True:
            published = self._published
            if choice is None:
                servable = published.latest.get(name)
            else:
                version = self._version_of(spec, choice)
                servable = published.specific.get((name, version))
            if servable is None:
                asked = f"Latest({name})" if choice is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {asked}")
            # A version that began to drain after the map was read is in no later map.
            if servable.try_enter():
                return servable

    def _version_of(self, spec: Any, choice: str) -> int:
        if choice == "version":
            return int(spec.version.value)
        version = self._labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        return version

    def knows(self, model: str) -> bool:
        """Whether a model of this name is configured or was loaded before."""
        return model in self._models or model in self._states

    def statuses(self, spec: Any) -> list[VersionState]:
        """States of the versions a `ModelSpec` asks for, the newest first.

        Raises:
            ServingError: NOT_FOUND where there is none.
        """
        with self._changed:
            states = dict(self._states.get(spec.name, {}))
        choice = spec.WhichOneof("version_choice")
        if choice is not None:
            version = self._version_of(spec, choice)
            if version not in states:
                raise not_found(f"Could not find version {version} of model {spec.name}")
            return [states[version]]
        if not states:
            raise not_found(f"Could not find any versions of model {spec.name}")
        return [states[version] for version in sorted(states, reverse=True)]

    # Versions ---------------------------------------------------------------------------------

    def _poll_forever(self) -> None:
        seconds = self._options.file_system_poll_wait_seconds
        while not self._stopping.wait(max(seconds, 1)):
            if seconds > 0:
                try:
                    self._poll()
                except Exception:
                    # Whatever the file system throws, the loaded versions go on serving.
                    log.exception("Polling for new versions failed")

    def _poll(self) -> None:
        with self._config_lock:
            models = dict(self._models)
        for name, model in models.items():
            try:
                found = list_versions(model.base_path)
            except OSError as error:
                log.error(
                    "FileSystemStoragePathSource encountered a filesystem access error: Could not "
                    "find base path %s for servable %s with error %s",
                    model.base_path,
                    name,
                    error,
                )
                continue
            if not found:
                log.warning(
                    "No versions of servable %s found under base path %s. Did you forget to name "
                    "your leaf directory as a number (eg. '/1/')?",
                    name,
                    model.base_path,
                )
            wanted = choose_versions(found, model.model_version_policy, name)
            with self._changed:
                self._want(name, wanted)
        with self._changed:
            for name in set(self._states) - set(models):
                self._want(name, {})
            self._unload_unwanted()

    def _want(self, name: str, wanted: Mapping[int, str]) -> None:
        states = self._states.setdefault(name, {}) if wanted else self._states.get(name, {})
        for version, state in states.items():
            if version not in wanted:
                state.wanted = False
        for version, path in sorted(wanted.items(), reverse=True):
            state_now = states.get(version)
            if state_now is not None and (state_now.state != END or state_now.wanted):
                # A version that failed for good is not tried again while it stays wanted.
                state_now.wanted = True
                continue
            state = VersionState(name, version, path)
            states[version] = state
            self._loads = [load for load in self._loads if load.is_alive()]
            self._loads.append(_start_thread(self._load, state))

    def _unload_unwanted(self) -> None:
        """Unload what is no longer wanted, but never the last available version of a model that
        still waits for another."""
        for states in self._states.values():
            wanted = [state for state in states.values() if state.wanted]
            if wanted and not any(state.state == AVAILABLE for state in wanted):
                continue
            for state in states.values():
                if not state.wanted and state.state == AVAILABLE:
                    self._unload(state)

    def _load(self, state: VersionState) -> None:
        interval = max(self._options.load_retry_interval_micros, 0) / 1e6
        for attempt in range(self._options.max_num_load_retries + 1):
            if attempt:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._stopping.is_set() or not state.wanted, interval
                    )
            try:
                with self._load_slots:
                    if self._stopping.is_set() or not state.wanted:
                        break
                    with self._changed:
                        self._move(state, LOADING)
                    servable = self._loader.load(
                        state.model, state.version, state.path, quietly=bool(self._published.latest)
                    )
            except Exception as error:
                state.tried = True
                state.error = (
                    error
                    if isinstance(error, ServingError)
                    else ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
                )
                self._observe_load(state.path, "fail")
                log.error("Loading servable: %s failed: %s", state, state.error)
                continue
            self._observe_load(state.path, "success")
            with self._changed:
                state.servable = servable
                state.tried = True
                state.error = None
                self._move(state, AVAILABLE)
                self._publish()
                log.info("Successfully loaded servable version %s", state)
                self._unload_unwanted()
            return
        with self._changed:
            self._move(state, END)

    def _unload(self, state: VersionState) -> None:
        self._move(state, UNLOADING)
        self._publish()
        self._unloads = [unload for unload in self._unloads if unload.is_alive()]
        self._unloads.append(_start_thread(self._drain, state))

    def _drain(self, state: VersionState) -> None:
        servable = state.servable
        assert servable is not None
        log.info("Quiescing servable version %s", state)
        with self._unload_slots:
            servable.drain_and_close()
        state.servable = None
        del servable
        # A graph is full of reference cycles; without this its memory stays until much later.
        gc.collect()
        with self._changed:
            self._move(state, END)
        log.info("Done unloading servable version %s", state)

    def _move(self, state: VersionState, to: int) -> None:
        state.state = to
        self._changed.notify_all()

    def _publish(self) -> None:
        specific = {
            (state.model, state.version): state.servable
            for states in self._states.values()
            for state in states.values()
            if state.state == AVAILABLE and state.servable is not None
        }
        latest = {name: servable for (name, _), servable in sorted(specific.items(), key=_by_id)}
        self._published = _Published(latest, specific)


def _start_thread(target: Callable[[VersionState], None], state: VersionState) -> threading.Thread:
    # Daemons: a load or a request that never ends must not keep the process from ending.
    thread = threading.Thread(target=target, args=(state,), name=str(state), daemon=True)
    thread.start()
    return thread


def _by_id(item: tuple[tuple[str, int], Servable]) -> tuple[str, int]:
    return item[0]
