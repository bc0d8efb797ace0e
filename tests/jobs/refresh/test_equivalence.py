"""Whatever happens to a shop, its served release says what a full build of the same catalog would say.

A state machine edits a shop's catalog, and refreshes, compacts, rebuilds and rolls back its release. What the release
has to say is known in plain Python (`shop_model`), so that no full build is needed to compare with.

To look for new examples, and for longer:

    LOOKALIKE_EQUIVALENCE_EXAMPLES=200 pytest --hypothesis-profile random tests/jobs/refresh/test_equivalence.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from artifacts.segments.info import STATE_FILE
from jobs.refresh.report import RefreshReport
from jobs.steps import StepResult
from tests.jobs.refresh.edited_shop import EDITS, EVENTS, Call, EditedShop, as_json, named
from tests.jobs.refresh.shop_model import ReleaseModel, assert_release
from tests.shop import Shop

#: Examples of each test; a few if it is not set.
EXAMPLES = int(os.environ.get("LOOKALIKE_EQUIVALENCE_EXAMPLES", "0"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0 if EXAMPLES else 900)]


#: What happens to the release. One rule draws them all: with a rule for each, Hypothesis leaves some out of an example,
#: and there are few examples.
ACTIONS = st.one_of(
    named("refresh", edits=EDITS),
    named("refresh_from_events", edits=EDITS, happenings=EVENTS),
    named("refresh", edits=EDITS),
    named("refresh_from_events", edits=EDITS, happenings=EVENTS),
    named("compact"),
    named("rebuild", edits=EDITS),
    named("roll_back", steps=st.integers(0, 4)),
)


class ShopMachine(RuleBasedStateMachine):
    """A shop and its release, and what the release has to say.

    Class attributes are set by each test: the shop to copy, its settings, and whether its changes have an updated_at.
    """

    published: ClassVar[Shop]
    settings: ClassVar[dict[str, Any]]
    timed: ClassVar[bool]

    @initialize()
    def copy_shop(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-equivalence-"))
        self.shop = Shop(self.folder, copy_of=self.published, **self.settings)
        self.edited = EditedShop(self.shop, timed=self.timed)
        self.model = ReleaseModel().refreshed(self.edited.rows, self.edited.pictures)
        self.versions = {self.shop.store.current(): self.model}
        self.embedded: set[str] = set()  # by refreshes

    def teardown(self) -> None:
        for version in self.shop.store.versions():
            self.shop.store.verify(version)
        shutil.rmtree(self.folder)

    @rule(action=ACTIONS)
    def act(self, action: Call) -> None:
        name, arguments = action
        getattr(self, name)(**arguments)

    def refresh(self, edits: list[Call]) -> None:
        self.edited.edit(edits)
        self.edited.write_catalog()
        self.refreshed(self.model.refreshed(self.edited.rows, self.edited.pictures), self.shop.refresh)

    def refresh_from_events(self, edits: list[Call], happenings: list[tuple[str, str]]) -> None:
        self.edited.edit(edits)
        events = self.edited.events(happenings)
        if events:
            rows = list(map(as_json, events))
            model = self.model.changed(events, self.edited.pictures)
            self.refreshed(model, lambda: self.shop.apply_changes(rows))

    def compact(self) -> None:
        self.shop.compact()
        self.served(self.model)

    def rebuild(self, edits: list[Call]) -> None:
        self.edited.edit(edits)
        self.edited.write_catalog()
        self.shop.build()
        self.served(self.model.rebuilt(self.edited.rows, self.edited.pictures))

    def roll_back(self, steps: int) -> None:
        versions = self.shop.store.versions()
        version = versions[-1 - steps % len(versions)]
        self.shop.store.rollback(version)
        self.served(self.versions[version])

    # ── what has to hold ─────────────────────────────────────────────────────────────────────────────────────────

    def refreshed(self, model: ReleaseModel, refresh: Callable[[], StepResult[RefreshReport]]) -> None:
        """Refresh twice. Only bytes are embedded that neither the release nor a refresh has seen."""
        known, before = self.pictures_of_release() | self.embedded, self.model
        needed = {
            picture.key
            for key, product in model.indexed.items()
            if product != before.products.get(key)
            for _, _, picture in product.good
        }
        assert refresh().report.obtained.embedded == len(needed - known)
        self.embedded |= needed - known
        self.served(model)
        assert not refresh().changed

    def pictures_of_release(self) -> set[str]:
        """The pictures whose vectors the served release has, those of deleted rows too."""
        keys: set[str] = set()
        for segment in self.shop.store.manifest().segments:
            state = pq.read_table(self.shop.store.segment_path(segment.id) / STATE_FILE, columns=["sha256"])
            keys |= {digest.hex() for digest in state["sha256"].drop_null().to_pylist()}
        return {picture.key for picture in self.edited.pictures.known if picture.key[:32] in keys}

    def served(self, model: ReleaseModel) -> None:
        """The release that is served says what the model says."""
        self.model = model
        self.versions[self.shop.store.current()] = model
        release = self.shop.open()
        try:
            assert_release(release, model)
        finally:
            release.close()


SETTINGS: dict[str, Any] = {"max_shrink": 1.0, "max_reject_rate": 1.0, "evaluation_queries": 10}
TRAINED: dict[str, Any] = SETTINGS | {"flat_max_rows": 0, "train_rows_per_list": 16}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("flat"), products=18, **SETTINGS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("trained"), products=300, **TRAINED)


def run(shop: Shop, options: dict[str, Any], timed: bool, examples: int) -> None:
    machine = type("ShopMachine", (ShopMachine,), {"published": shop, "settings": options, "timed": timed})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=15,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("timed", [False, True], ids=["without-times", "with-times"])
def test_release_says_what_its_catalog_says(flat: Shop, timed: bool) -> None:
    run(flat, SETTINGS, timed, 4)


@pytest.mark.usefixtures("quick")
def test_release_with_a_trained_index_says_what_its_catalog_says(trained: Shop) -> None:
    run(trained, TRAINED, True, 2)
