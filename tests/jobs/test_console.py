"""What verbs of the command line hand to the processes that they start."""

from __future__ import annotations

import pytest

from artifacts.settings import Settings
from jobs.console import variables_of


def test_variables_make_the_same_settings_with_their_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"engine_key": "shop:s3cret", "embedding_store_key": "shop:s3cret", "api_keys": "s3cret"}
    settings = Settings.model_validate({"shards": 3, "engine": "pgvector", "download_retries": 1, **secrets})
    variables = variables_of(settings)
    assert set(variables) == {
        f"LOOKALIKE_{name.upper()}" for name in ("shards", "engine", "download_retries", *secrets)
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
