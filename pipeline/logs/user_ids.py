"""User ids that leave the logs as keyed hashes only: HMAC-SHA256 with a key from a file.

The same id and the same key give the same hash, so that spans, tables and requests still join. Who
has the hashes but not the key can neither read an id out of one nor try ids until one fits. The key
itself is in no artifact, report, log or error.

    openssl rand -hex 32 > user_id.key && chmod 600 user_id.key
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.logs.checked import ConfigError, require

SHORTEST_KEY = 32
# 128 bits: two of a billion users share a hash with a chance of one in 10²⁰.
_HEX_DIGITS = 32
_SETTING = "privacy.user_id_key_file"


@dataclass(frozen=True)
class Privacy:
    """What is done about the personal data in the logs.

    Attributes:
        user_id_key_file: file with the secret key that user ids are hashed with, at least 32 bytes;
            white space at its end does not count. Relative to the dataset config's folder. Every
            machine that reads logs needs it. None: ids are used as they are.
    """

    user_id_key_file: str | None = None

    def __post_init__(self) -> None:
        name = self.user_id_key_file
        require(name != "", "user_id_key_file", name, "the path of a file with a secret key")

    def user_id_key(self) -> UserIdKey | None:
        """The key, or None where ids are used as they are. Raises `ConfigError`."""
        return None if self.user_id_key_file is None else UserIdKey.read(self.user_id_key_file)


class UserIdKey:
    """Hashes user ids.

    Args:
        key: at least 32 bytes that nobody can guess.

    Raises:
        ConfigError: it is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise ConfigError(
                _SETTING,
                f"a key of {len(key)} bytes",
                f"{SHORTEST_KEY} bytes or more that nobody can guess; make them with: "
                "openssl rand -hex 32",
            )
        self._key = key

    @classmethod
    def read(cls, path: str | Path) -> UserIdKey:
        """The key in a file. Raises `ConfigError`."""
        try:
            key = Path(path).expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(
                _SETTING, f"{path} ({error.strerror})", "a file with a secret key that can be read"
            ) from error
        try:
            return cls(key.rstrip())
        except ConfigError as error:
            raise error.inside("", str(path)) from None

    def __repr__(self) -> str:
        return f"UserIdKey({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Tells this key from another one and says nothing else about it."""
        return hmac.digest(self._key, b"easq: which key is this", "sha256").hex()[:16]

    def hash(self, user_id: str | bytes) -> str:
        """32 hexadecimal digits: the first half of HMAC-SHA256 of the id in UTF-8."""
        text = user_id.encode("utf-8", "surrogatepass") if isinstance(user_id, str) else user_id
        return hmac.digest(self._key, text, "sha256").hex()[:_HEX_DIGITS]

    def hash_value(self, value: Any) -> Any:
        """An id as a file has it, for a dead letter; None stays None."""
        if value is None:
            return None
        return self.hash(value if isinstance(value, bytes) else str(value))

    def hash_all(self, ids: pa.Array) -> pa.Array:
        """Ids as text; nulls stay."""
        different = pc.unique(ids)
        hashed = [None if each is None else self.hash(each) for each in different.to_pylist()]
        return pa.array(hashed, pa.string()).take(pc.index_in(ids, value_set=different))
