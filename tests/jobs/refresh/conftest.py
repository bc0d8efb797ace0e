"""Assertions of the models of a shop explain themselves as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.jobs.refresh.shop_model")
