"""A refresh path for tests: it keeps the products in a JSON file, by the rules that the stream relies on.

A change whose `updated_at` is older than the product's is stale; deleted products are remembered. A product's column
`fails` says how its picture fails: a reason, or `reason*times` for one that passes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts.schema import Reason
from jobs.stream.sink import AppliedChanges
from tests.waiting import wait_until


class Recorder:
    """Applies change files to `products.json` in a folder.

    A file `wait` in the folder makes it wait, once it has begun, until the file is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._state = folder, folder / "products.json"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> dict[str, Any]:
        """What was published last: version, and product_id -> row, deleted ones included."""
        return json.loads(self._state.read_text()) if self._state.exists() else {"version": 0, "products": {}}

    @property
    def products(self) -> dict[str, Any]:
        """product_id -> row of the products that are not deleted."""
        return {key: row for key, row in self.state["products"].items() if not row["deleted"]}

    @property
    def calls(self) -> list[list[dict[str, Any]]]:
        """The rows of every change file that was begun."""
        log = self._folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def apply(self, path: Path) -> AppliedChanges:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len({row["product_id"] for row in rows}) == len(rows) > 0
        with (self._folder / "calls.jsonl").open("a") as log:
            log.write(json.dumps(rows) + "\n")
        wait_until(lambda: not (self._folder / "wait").exists())
        state = self.state
        products, stale = state["products"], 0
        rejects: list[tuple[str, str, str]] = []
        failed: list[tuple[str, str, str]] = []
        for row in rows:
            key = row["product_id"]
            if key in products and row["updated_at"] < products[key]["updated_at"]:
                stale += 1
            elif row.get("is_active") is False:
                rejects.append((key, Reason.INACTIVE, "is_active: false"))
                products[key] = {**row, "deleted": True}
            elif row.get("price", 0) < 0:
                rejects.append((key, Reason.BAD_VALUE, f"price: {row['price']} is below 0"))
            else:
                failed += self._failures(row)
                products[key] = row
        temporary = self._folder / "products.tmp"
        temporary.write_text(json.dumps({"version": state["version"] + 1, "products": products}))
        temporary.replace(self._state)
        return AppliedChanges(f"v{state['version'] + 1}", len(rows) - stale - len(rejects), stale, rejects, failed)

    def _failures(self, row: dict[str, Any]) -> list[tuple[str, str, str]]:
        reason, _, times = str(row.get("fails") or "").partition("*")
        if not reason:
            return []
        begun = sum(row["product_id"] in {each["product_id"] for each in call} for call in self.calls)
        if times and begun > int(times):
            return []
        return [(row["product_id"], reason, f"picture {row['image_url']}: {reason}")]


def kill_at(point: str, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, or one that kills this process before or after its first call.

    Args:
        point: where to die: "before apply", "after commit", …
        place: the function's name in `point`.
    """

    def call(*arguments: Any) -> Any:
        if point == f"before {place}":
            os.kill(os.getpid(), 9)
        result = function(*arguments)
        if point == f"after {place}":
            os.kill(os.getpid(), 9)
        return result

    return call
