"""The users to forget, as logs name them and as everything made of logs does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.example_gen.columnar import Bools, one_chunk
from pipeline.logs.dataset_config import DatasetConfig
from pipeline.online.keys import Keys, keys_of


@dataclass(frozen=True)
class UserNames:
    """Ids of users.

    Attributes:
        in_logs: as the logs have them.
        made_of_logs: as examples, stores and dead letters may have them: the same, and their hashes
            where the dataset has a key.
    """

    in_logs: frozenset[str]
    made_of_logs: frozenset[str]

    @classmethod
    def of(cls, ids: Iterable[str], dataset: DatasetConfig) -> UserNames:
        """Names of users by their ids. Raises `ConfigError` where the key cannot be read."""
        in_logs = frozenset(ids)
        key = dataset.privacy.user_id_key()
        hashed = frozenset() if key is None else frozenset(map(key.hash, in_logs))
        return cls(in_logs, in_logs | hashed)

    @cached_property
    def encoded(self) -> frozenset[bytes]:
        """`made_of_logs` in UTF-8."""
        return frozenset(name.encode() for name in self.made_of_logs)

    @property
    def array(self) -> pa.Array:
        """`made_of_logs` for Arrow."""
        return pa.array(sorted(self.made_of_logs), pa.string())

    @property
    def keys(self) -> Keys:
        """Those of `pipeline.online.keys`."""
        return keys_of(pa.chunked_array([self.array]))

    def among(self, table: pa.Table, column: str) -> Bools:
        """Which rows are theirs."""
        theirs = pc.is_in(one_chunk(table, column), value_set=self.array)
        return theirs.to_numpy(zero_copy_only=False)
