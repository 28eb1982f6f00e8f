"""Whether the master keys can be had, and open the data keys of the store."""

import os

from chatd.config import Config, ConfigError
from chatd.doctor import Finding, failure, ok
from chatd.master_keys import open_ring
from chatd.stores import open_data_keys
from storage import StoreError
from storage.records import DataKeyRecord
from storage.sealing import KeyMissing

_SUBJECT = "encryption"


async def check_encryption(config: Config) -> list[Finding]:
    """Try the keys, if bodies are sealed or were."""
    encryption = config.store.encryption
    try:
        ring = open_ring(encryption, os.environ)
    except ConfigError as error:
        return [failure(_SUBJECT, str(error), "put it back; docs/howto/encrypt-at-rest.md says how keys are changed")]
    records = await _data_keys(config)
    for record in records:
        try:
            ring.unwrap(record)
        except KeyMissing as error:
            return [failure(_SUBJECT, str(error), "`chatd db keys list` shows which data keys do not open")]
    if not records and not encryption.active:
        return []
    return [ok(_SUBJECT, f"{len(records)} data keys open; bodies are {'' if encryption.active else 'not '}sealed")]


async def _data_keys(config: Config) -> list[DataKeyRecord]:
    """Read the data keys; none where the store cannot be opened, which its own check says."""
    try:
        async with open_data_keys(config) as store:
            return await store.data_keys()
    except (ConfigError, StoreError):
        return []
