"""Settings: documented, read from the environment, and refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifacts import config
from artifacts.engines.base import EngineAddress
from artifacts.errors import EngineError, InputError
from artifacts.features.opening import open_embedding_store
from artifacts.settings import Settings

BOUNDED = {
    name: field
    for name, field in Settings.model_fields.items()
    if any(hasattr(rule, "ge") or hasattr(rule, "gt") for rule in field.metadata)
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str):
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith((".", "…"))


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOKALIKE_RECALL_TARGET", "0.9")
    monkeypatch.setenv("LOOKALIKE_CODEC", "rabitq")
    monkeypatch.setenv("LOOKALIKE_ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setenv("LOOKALIKE_NOT_A_SETTING", "1")
    settings = Settings()
    assert (settings.recall_target, settings.codec, settings.allow_private_addresses) == (0.9, "rabitq", True)


def test_arguments_override_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOKALIKE_PORT", "1234")
    assert Settings(port=4321).port == 4321


def test_most_settings_have_bounds():
    assert len(BOUNDED) > 25


@pytest.mark.parametrize("name", BOUNDED)
def test_values_out_of_range_are_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch):
    for rule in BOUNDED[name].metadata:
        minimum = getattr(rule, "ge", getattr(rule, "gt", None))
        maximum = getattr(rule, "le", None)
        for value in ([minimum - 1] if minimum is not None else []) + ([maximum + 1] if maximum is not None else []):
            monkeypatch.setenv(f"LOOKALIKE_{name.upper()}", str(value))
            with pytest.raises(ValidationError) as caught:
                Settings()
            assert [error["loc"] for error in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("codec", "zip"), ("shards", "many"), ("recall_target", "nan"), ("memory_budget", "16X")],
)
def test_values_of_the_wrong_type_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"LOOKALIKE_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert caught.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("16G", 16 * 10**9), ("800M", 8 * 10**8), ("1.5 GiB", 3 * 2**29), ("1000", 1000), ("0", 0), ("", 0), (" ", 0)],
)
def test_memory_budget_is_a_size(text: str, expected: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOKALIKE_MEMORY_BUDGET", text)
    assert Settings().pipeline.index.memory_budget == expected


def test_unknown_names_are_refused():
    with pytest.raises(ValidationError):
        Settings(**{"shard": 3})


def test_settings_are_immutable():
    with pytest.raises(ValidationError):
        Settings().shards = 3  # type: ignore[misc]


def test_max_pixels_stays_below_the_limit_of_pillow():
    """Above its own limit Pillow refuses a picture, whatever the setting is."""
    from PIL import Image

    assert Image.MAX_IMAGE_PIXELS is not None
    maximum = next(rule.le for rule in Settings.model_fields["max_pixels"].metadata if hasattr(rule, "le"))
    assert maximum <= 2 * Image.MAX_IMAGE_PIXELS


#: None stands for the release's own encoder, keys and options are parsed from one text, and credentials are secret.
EXCEPTIONS = {
    (config.ReleaseWatching, "encoder"),
    (config.ReleaseWatching, "engine_key"),
    (config.AccessConfig, "api_keys"),
    (config.EngineConfig, "engine_key"),
    (config.EmbeddingStoreConfig, "embedding_store_key"),
    (config.EngineConfig, "engine_options"),
}
GROUPS = [
    group
    for group in vars(config).values()
    if dataclasses.is_dataclass(group) and group not in (config.PipelineConfig, config.ServerConfig)
]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_groups_have_the_names_and_defaults_of_the_settings(group: type) -> None:
    settings = Settings.model_fields
    for field in dataclasses.fields(group):
        if field.name in settings and field.default is not dataclasses.MISSING:
            if (group, field.name) in EXCEPTIONS:
                continue
            assert field.default == settings[field.name].default, field.name
        else:
            assert field.name in settings or (group, field.name) == (config.RankingConfig, "weights")


def test_engine_credentials_are_secret_and_have_no_place_in_the_address() -> None:
    settings = Settings(engine_key="user:s3cret", engine_options='{"m": 16}')  # type: ignore[arg-type]
    assert "s3cret" not in repr(settings) + repr(settings.pipeline) + repr(settings.server)
    assert settings.pipeline.engine.engine_key == settings.server.watching.engine_key == "user:s3cret"
    assert settings.pipeline.engine.engine_options == {"m": 16}
    with pytest.raises(ValidationError, match="engine_key"):
        Settings(engine_url="postgresql://user:s3cret@127.0.0.1/shop")


def test_credentials_of_the_embedding_store_are_secret_and_have_no_place_in_its_url() -> None:
    settings = Settings(embedding_store="redis://cache:6379/0", embedding_store_key="shop:s3cret")  # type: ignore[arg-type]
    assert "s3cret" not in repr(settings) + repr(settings.pipeline) + repr(settings.server)
    assert settings.pipeline.features == settings.server.features
    assert settings.pipeline.features.embedding_store_key == "shop:s3cret"
    with pytest.raises(ValidationError, match="give them as embedding_store_key"):
        Settings(embedding_store="postgresql://user:s3cret@127.0.0.1/shop")
    with pytest.raises(ValidationError, match="user:password"):
        Settings(embedding_store_key="s3cret")  # type: ignore[arg-type]


def test_the_folder_of_the_embedding_store_is_the_same_in_any_working_directory() -> None:
    assert Settings(embedding_store="features").embedding_store == str(Path("features").absolute())
    assert Settings(embedding_store="~/features").embedding_store == str(Path.home() / "features")
    assert Settings(embedding_store="s3://shop/features").embedding_store == "s3://shop/features"
    assert Settings().embedding_store == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@127.0.0.1/shop",
        "postgresql://user:s3cret@127.0.0.1,other/shop",
        "postgresql://s3cret@127.0.0.1/shop",
        "postgresql://user:half/s3cret@127.0.0.1/shop",
        "postgresql://127.0.0.1/shop?user=u&password=s3cret",
        "postgresql://127.0.0.1/shop?sslpassword=s3cret",
        "postgresql://127.0.0.1/shop?pass%77ord=s3cret",
        "host=127.0.0.1 password=s3cret",
        "redis://127.0.0.1/0?password=s3cret",
        "redis://:s3cret@127.0.0.1/0",
        "unix:///run/redis.sock?db=1&PASSWORD=s3cret",
        "http://user:s3cret@127.0.0.1:6333",
        "http://127.0.0.1:6333?api_key=s3cret",
        "user:s3cret@127.0.0.1:6333",
        "sftp://user:s3cret@127.0.0.1/features",
    ],
)
@pytest.mark.parametrize(("name", "place"), [("engine_url", "engine_key"), ("embedding_store", "embedding_store_key")])
def test_addresses_with_credentials_are_refused_without_repeating_them(name: str, place: str, url: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}\n.*give them as {place}") as caught:
        Settings(**{name: url})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(EngineError, match=r"engine_url .*engine_key") as refused:
        EngineAddress(url)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(InputError, match=r"embedding_store .*embedding_store_key") as unopened:
        open_embedding_store(config.EmbeddingStoreConfig(url), seconds=1)
    assert "s3cret" not in str(unopened.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:5432/shop?sslmode=verify-full&sslkey=/etc/shop.key&passfile=/etc/pgpass",
        "redis://cache:6379/0?socket_timeout=1",
        "https://milvus:19530/shop",
        "path:/var/lib/qdrant",
        "abfs://features@account.dfs.core.windows.net/shop",
        "s3://shop/a@b",
    ],
)
def test_addresses_without_credentials_are_taken_as_they_are(url: str) -> None:
    assert Settings(engine_url=url).engine_url == url
    if "://" in url:
        assert Settings(embedding_store=url).embedding_store == url


def test_messages_about_settings_name_the_field_and_what_is_wrong_but_not_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(port=123_456, codec="zip", embedding_store_key="s3cret")  # type: ignore[arg-type]
    message = str(caught.value)
    assert "port\n  Input should be less than or equal to 65535" in message
    assert "codec\n  Input should be 'pq'," in message
    assert "embedding_store_key\n  Value error, is not like user:password" in message
    assert "s3cret" not in message
    assert "123456" not in message


@pytest.mark.parametrize("options", ["[1]", "{", '{"m": {}}', '{"m": true}'])
def test_engine_options_that_are_no_object_of_plain_values_are_refused(options: str) -> None:
    with pytest.raises(ValidationError, match="engine_options"):
        Settings(engine_options=options)
