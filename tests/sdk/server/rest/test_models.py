from __future__ import annotations

import openai
import pytest

from echat_sdk.testing import FakeModel
from tests.sdk.server.rest.serving import app_of, http_of, openai_of


async def test_the_model_that_is_served_is_listed_with_its_voices() -> None:
    async with openai_of(app_of(FakeModel(voices=("heart",)))) as client:
        (model,) = (await client.models.list()).data
        assert await client.models.retrieve("fake") == model
    assert (model.id, model.object, model.owned_by) == ("fake", "model", "echat")
    assert model.model_extra == {"echat": {"voices": ["heart"]}}


async def test_another_model_is_not_found() -> None:
    async with openai_of(app_of()) as client:
        with pytest.raises(openai.NotFoundError, match="fake is served"):
            await client.models.retrieve("gpt-4o")


async def test_another_method_is_refused_with_the_right_one() -> None:
    async with http_of(app_of()) as http:
        posted = await http.post("/v1/models")
        got = await http.get("/v1/chat/completions")
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert got.json()["error"]["code"] == "method_not_allowed"
