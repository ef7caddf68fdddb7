from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from echat_sdk.errors import CheckpointError, ConfigError, ModelError, ModelMissingError
from echat_sdk.model.echat import directory
from echat_sdk.model.echat.checkpoint import build, expected_shapes, infer_config
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.directory import Card, load, memory_estimate, written_whole
from echat_sdk.model.echat.names import Kind, from_upstream, to_upstream
from echat_sdk.model.echat.synthetic import small_config, synthetic_state


@pytest.fixture(scope="module", params=["osum", "osum-echat"])
def kind(request: Any) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def saved(small_model: Any, tmp_path: Path) -> Path:
    small_model.save_pretrained(tmp_path, max_shard_size="100KB")
    Card(kind="osum-echat").write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"), [("case05a_echat", "osum-echat"), ("case05b_osum", "osum")]
)
def test_the_synthetic_checkpoint_has_every_released_key_and_shape(
    golden: Any, name: str, kind: Kind
) -> None:
    released = {key: tuple(shape) for key, (shape, _) in golden(name).facts["keys"].items()}
    empty = {key: torch.empty(shape) for key, shape in released.items()}
    config = infer_config(
        from_upstream(empty), kind=kind, encoder_heads=4, llm={"num_attention_heads": 4}
    )
    config.llm.tie_word_embeddings = kind == "osum-echat"  # empty tensors are not to be compared
    synthetic = synthetic_state(kind, config)
    assert {key: tuple(tensor.shape) for key, tensor in synthetic.items()} == released


def test_names_go_there_and_back(kind: Kind) -> None:
    ours = from_upstream(synthetic_state(kind))
    theirs = to_upstream(ours, kind=kind)
    again = from_upstream(theirs)
    assert (
        again.keys()
        == ours.keys()
        == build(ours, infer_config(ours)).state_dict().keys()
        - ({"llm.lm_head.weight"} - ours.keys())
    )
    assert all(again[key] is ours[key] for key in ours)
    assert ("speaker_head.weight" in theirs) == (kind == "osum")
    assert "encoder.encoders.1.feed_forward.w_2.bias" in theirs
    assert "speech_transformer.encoders.3.norm1.weight" in theirs


def test_the_released_sizes_are_read_from_the_shapes(kind: Kind) -> None:
    config = small_config(kind)
    found = infer_config(from_upstream(synthetic_state(kind)))
    assert found.encoder.to_dict() == config.encoder.to_dict()
    assert found.adapter.to_dict() == config.adapter.to_dict()
    for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers"):
        assert getattr(found.llm, name) == getattr(config.llm, name)
    assert found.llm.tie_word_embeddings == config.llm.tie_word_embeddings


def test_the_default_configuration_is_osum_echats() -> None:
    shapes = expected_shapes(EChatConfig())
    count = {
        part: sum(shape.numel() for key, shape in shapes.items() if key.startswith(part)) / 1e6
        for part in ("encoder", "adapter", "llm", "speech")
    }
    assert count["encoder"] == pytest.approx(305.7, abs=0.05)
    assert count["adapter"] == pytest.approx(50.39, abs=0.01)
    assert count["llm"] == pytest.approx(3085.9, abs=0.1)
    assert count["speech"] == pytest.approx(16.8, abs=0.05)
    assert memory_estimate(EChatConfig(), torch.bfloat16) == 2 * sum(
        map(torch.Size.numel, shapes.values())
    )


def test_lora_is_merged_with_its_scale() -> None:
    state = synthetic_state("osum", dtype=torch.float32)
    prefix = "llama_model.base_model.model.model.layers.1.mlp.down_proj"
    down, up = (state[f"{prefix}.lora_{half}.default.weight"] for half in "AB")
    merged = from_upstream(state)["llm.model.layers.1.mlp.down_proj.weight"]
    expected = state[f"{prefix}.base_layer.weight"] + 4 * up @ down
    torch.testing.assert_close(merged, expected)
    assert (merged - state[f"{prefix}.base_layer.weight"]).abs().max() > 1e-3
    del state[f"{prefix}.lora_A.default.weight"]
    with pytest.raises(CheckpointError, match=r"LoRA of llama_model.model.layers.1.mlp.down_proj"):
        from_upstream(state)


def test_speech_layers_that_upstream_moved_are_found() -> None:
    state = synthetic_state("osum-echat")
    moved = {
        (f"llama_model.{key}" if key.startswith("speech_") and "transformer" not in key else key): t
        for key, t in state.items()
        if not key.startswith("speech_llama_proj")
    } | {key: t for key, t in state.items() if key.startswith("speech_llama_proj")}
    assert "llama_model.speech_head.bias" in moved
    assert from_upstream(moved).keys() == from_upstream(state).keys()
    assert from_upstream(state | moved).keys() == from_upstream(state).keys()
    wrapped = {f"module.{key}": t for key, t in state.items()}
    assert from_upstream(wrapped).keys() == from_upstream(state).keys()


def test_the_audit_names_what_does_not_fit() -> None:
    state = from_upstream(synthetic_state("osum-echat"))
    config = infer_config(state)
    wrong = dict(state)
    del wrong["adapter.input.bias"]
    wrong["encoder.extra.weight"] = torch.zeros(1)
    wrong["speech_head.bias"] = torch.zeros(7)
    wrong["llm.model.norm.weight"] = torch.full((128,), torch.nan)
    with pytest.raises(CheckpointError) as caught:
        build(wrong, config)
    message = str(caught.value)
    assert "1 missing: adapter.input.bias" in message
    assert "1 unexpected: encoder.extra.weight" in message
    assert "speech_head.bias (7,) instead of (4097,)" in message
    assert "with NaN or infinity: llm.model.norm.weight" in message


def test_a_long_list_of_misfits_is_counted_and_cut() -> None:
    state = from_upstream(synthetic_state("osum-echat"))
    config = infer_config(state)
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("encoder.")}
    with pytest.raises(CheckpointError, match=r"36 missing: .* and 24 more"):
        build(kept, config)


def test_a_layer_with_a_hole_is_missing_not_random() -> None:
    state = from_upstream(synthetic_state("osum-echat"))
    config = infer_config(state)
    holed = {key: t for key, t in state.items() if not key.startswith("encoder.layers.0.fc2")}
    with pytest.raises(CheckpointError, match=r"2 missing: encoder\.layers\.0\.fc2\.bias"):
        build(holed, config)
    assert infer_config(holed).encoder.encoder_layers == 2
    with pytest.raises(CheckpointError, match="expected one of rank 2"):
        infer_config({key: t for key, t in state.items() if ".fc1." not in key})


def test_only_osum_echat_may_lack_its_text_head() -> None:
    state = from_upstream(synthetic_state("osum"))
    assert not infer_config(state, kind="osum").llm.tie_word_embeddings
    del state["llm.lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing: llm\.lm_head\.weight"):
        build(state, infer_config(state, kind="osum"))
    echat = from_upstream(synthetic_state("osum-echat"))
    del echat["llm.lm_head.weight"]
    build(echat, infer_config(echat))


def test_a_network_of_a_released_width_has_the_released_depth() -> None:
    shapes = expected_shapes(EChatConfig())
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    gone = ("encoder.layers.23.", "adapter.layers.3.", "llm.model.layers.35.")
    cut = {key: tensor for key, tensor in state.items() if not key.startswith(gone)}
    found = infer_config(cut)
    assert found.encoder.encoder_layers == 24
    assert found.adapter.num_hidden_layers == 4
    assert found.llm.to_dict() == EChatConfig().llm.to_dict()


def test_a_directory_is_opened_as_it_was_saved(saved: Path, small_model: Any) -> None:
    model = load(saved)
    before, after = small_model.state_dict(), model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    ids = torch.randint(0, 340, (1, 9))
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, small_model(input_ids=ids).logits)
    assert load(saved, dtype=torch.bfloat16).dtype is torch.bfloat16
    assert not model.training


def test_a_directory_of_another_model_is_refused(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(path.read_text().replace('"model_type": "echat",', '"model_type": "qwen2",'))
    with pytest.raises(CheckpointError, match="'qwen2', expected 'echat'"):
        load(saved)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load(saved)
    path.unlink()
    with pytest.raises(ModelMissingError, match="echat models convert"):
        load(saved)


def test_a_damaged_or_missing_shard_is_named(saved: Path) -> None:
    shard = sorted(saved.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=shard.name):
        load(saved)
    shard.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load(saved)


def test_what_does_not_fit_into_memory_is_told_before_it_is_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "free_memory", lambda device: 1000)
    monkeypatch.setattr(directory, "safe_open", None)
    with pytest.raises(ModelError, match=r"0\.0 GB are free on cpu"):
        load(saved)


def test_a_directory_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    writing = written_whole(tmp_path / "out")
    (writing.__enter__() / "half").touch()
    assert not writing.__exit__(CheckpointError, CheckpointError(), None)
    assert [*tmp_path.iterdir()] == []
    with written_whole(tmp_path / "deep" / "out") as folder:
        (folder / "whole").touch()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["out", "whole"]
    with pytest.raises(ConfigError, match="is there already"), written_whole(tmp_path / "deep"):
        pass
    with pytest.raises(ConfigError, match="cannot write"), written_whole(Path("/proc/none/out")):
        pass


def test_a_damaged_card_is_told(saved: Path) -> None:
    assert Card.read(saved).kind == "osum-echat"
    (saved / "echat.json").write_text('{"kind": "else"}')
    with pytest.raises(CheckpointError, match="damaged"):
        Card.read(saved)
    (saved / "echat.json").unlink()
    with pytest.raises(ModelMissingError, match="echat models convert"):
        Card.read(saved)
