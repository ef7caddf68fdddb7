from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from echat_sdk.errors import ModelError
from echat_sdk.model.echat.checkpoint import build, infer_config
from echat_sdk.model.echat.configuration import EChatConfig
from echat_sdk.model.echat.layout import Layout, PastTurn
from echat_sdk.model.echat.mode import Mode
from echat_sdk.model.echat.names import from_upstream
from echat_sdk.model.echat.network import EChatForConditionalGeneration
from echat_sdk.model.echat.prompt import System
from echat_sdk.model.echat.reference import ReferenceTemplate
from echat_sdk.model.echat.template import Template
from echat_sdk.model.echat.vocab import IGNORED, Vocab

CASE8 = json.loads(
    (Path(__file__).parents[3] / "golden/osum/case08_train_forward.json").read_text("utf-8")
)
# Upstream's name of each tensor whose gradient the golden case gives, and ours where it differs.
HISTORY, PLAIN = "speech2text_token_history", CASE8["inputs"]["uses_plain_labels"]


@pytest.fixture(scope="module")
def trained(golden: Any) -> Any:
    state = from_upstream(golden("case08_train_forward").under("w."))
    heads = {"num_attention_heads": 4, "eos_token_id": 2, "bos_token_id": 0}
    return build(state, infer_config(state, encoder_heads=4, llm=heads))


def _template(output_type: str) -> Template:
    ids = CASE8["token_ids"]
    start, newline = tuple(ids["user_start"]), (ids["im_end_nl"][1],)
    system = tuple(ids["system_plus_user_start"][output_type])[: -len(start)]
    return ReferenceTemplate(
        vocab=Vocab(320, 40, im_start=1, im_end=2, text_end=2),
        system=dict.fromkeys(System, system),
        user_start=start,
        assistant_start=tuple(ids["assistant_start"]),
        newline=newline,
    )


def _batch(case: Any, output_type: str) -> dict[str, torch.Tensor]:
    """The rows of a golden batch, written by our template and padded as upstream pads them."""
    mode, template, given = Mode(output_type), _template(output_type), CASE8["inputs"]
    labels = given["text_labels_plain" if output_type in PLAIN else "text_labels_with_unk"]
    features, rows = [], []
    for row in (0, 1):
        history = given["history"][row] if output_type == HISTORY else None
        past = []
        for i, turn in enumerate(history or ()):
            features.append(case.tensors[f"hist.{row}.{i}.feat"])
            codes = turn["speech_token"][1:-1]
            spoken = template.vocab.spoken(codes) if codes else ()
            past.append(PastTurn((*turn["txt_ids"], 2, *spoken), audio=-(-len(features[-1]) // 8)))
        frames = int(case.tensors["lens"][row])
        if mode.hears:
            features.append(case.tensors["feats"][row, :frames])
        layout = template.sample(
            mode,
            text=labels[row],
            codes=given["speech_tokens"][row][1:-1],
            audio=-(-frames // 8) if mode.hears else 0,
            prompt=given["prompts"][row],
            history=past if history is not None else None,
        )
        assert isinstance(layout, Layout)
        rows.append(layout)

    # Upstream pads inside a row too, and what is predicted from a pad belongs to its loss.
    golden = {
        name: case.tensors[f"{output_type}.{name}"].long()
        for name in ("attention_mask", "position_ids", "target")
    }
    ids = torch.zeros_like(golden["target"])
    for row, layout in enumerate(rows):
        ours, theirs = torch.tensor(layout.attention_mask) > 0, golden["attention_mask"][row] > 0
        ids[row, theirs] = torch.tensor(layout.ids)[ours]
        assert torch.equal(torch.tensor(layout.labels)[ours], golden["target"][row, theirs])
    batch = {
        "input_ids": ids,
        "labels": golden["target"],
        "attention_mask": golden["attention_mask"],
        "position_ids": golden["position_ids"],
    }
    if features:
        batch["input_features"] = pad_sequence(features, batch_first=True)
        batch["feature_lengths"] = torch.tensor([len(one) for one in features])
    return batch


GRADIENTS = {
    "encoder.embed.conv.0.weight": "encoder.conv1.weight",
    "encoder.after_norm.bias": "encoder.layer_norm.bias",
    "llama_model.model.embed_tokens.weight": "llm.model.embed_tokens.weight",
    "llama_model.model.layers.0.self_attn.q_proj.weight": (
        "llm.model.layers.0.self_attn.q_proj.weight"
    ),
    "down_sample_2.conv.1.weight": "adapter.convs.0.weight",
    "speech_llama_proj.weight": "adapter.projection.weight",
    "speech_token_emded.weight": "speech_embedding.weight",
    "speech_head.bias": "speech_head.bias",
}


@pytest.mark.parametrize("result", CASE8["results"], ids=lambda r: r["output_type"])
def test_a_training_step_is_upstreams(golden: Any, trained: Any, result: dict[str, Any]) -> None:
    case, output_type = golden("case08_train_forward"), result["output_type"]
    batch = _batch(case, output_type)
    trained.zero_grad()
    over = "text" if result["logits_over"] == "text" else "all"
    output = trained(**batch, loss_over=over)
    output.loss.backward()
    assert (batch["labels"] != IGNORED).sum() == result["n_supervised"]
    assert output.loss.item() == pytest.approx(result["loss"], rel=1e-5)
    ours = dict(trained.named_parameters())
    for name, norm in result["grad_l2"].items():
        if name in GRADIENTS:
            gradient = ours[GRADIENTS[name]].grad
            assert gradient.norm().item() == pytest.approx(norm, rel=1e-3), name
    if f"{output_type}.logits_row0" in case.tensors:
        expected = case.tensors[f"{output_type}.logits_row0"]
        attended = batch["attention_mask"][0] > 0
        row = output.logits[0, attended, : expected.shape[1]]
        torch.testing.assert_close(row, expected[attended], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("run", ["s2s", "tts", "asr"])
def test_decoding_step_by_step_scores_as_upstream(golden: Any, ears: Any, run: str) -> None:
    case = golden("case12_decode")
    facts = next(one for one in case.facts["runs"] if one["name"] == run)
    weights = case.under("w.")
    table = torch.zeros(151_936, 16)
    table[case.tensors["text_row_ids"]] = case.tensors["text_rows"]
    weights["llama_model.model.embed_tokens.weight"] = table
    state = from_upstream(weights)
    config = infer_config(state | ears, encoder_heads=1, llm={"num_attention_heads": 4})
    model = build(state | ears, config)
    text = torch.cat([case.tensors.get(f"{run}.text_logits_at_row_ids", torch.zeros(0, 124))])
    speech = case.tensors.get(f"{run}.speech_logits", torch.zeros(0, 41))
    rows = [("text", row) for row in text] + [("speech", row) for row in speech]
    assert [head for head, _ in rows] == facts["head_used_per_step"]
    cache, embeds, said_end = DynamicCache(), case.tensors[f"{run}.inputs_embeds"], run == "tts"
    for (head, expected), token in zip(rows, facts["generated"], strict=True):
        hidden = model.backbone(inputs_embeds=embeds, past_key_values=cache).last_hidden_state[
            :, -1
        ]
        text_row = model.text_logits(hidden)[0, case.tensors["text_row_ids"]]
        scores = text_row if head == "text" else model.speech_logits(hidden)[0]
        torch.testing.assert_close(scores, expected, atol=5e-5, rtol=1e-4)
        embeds = model.embed(torch.tensor([[token + 151_936 * said_end]]))
        said_end = said_end or token == 151_645


@pytest.fixture
def ears(tiny_echat: Callable[..., EChatConfig]) -> dict[str, torch.Tensor]:
    """Tensors of an encoder and an adapter, for a case that has neither."""
    config = tiny_echat(vocab_size=8, hidden=16, layers=1, encoder={"encoder_attention_heads": 1})
    state = EChatForConditionalGeneration(config).state_dict()
    return {k: v for k, v in state.items() if k.startswith(("encoder.", "adapter."))}


def _heard(model: Any, frames: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(frames)
    features = torch.randn(2, frames, 80)
    held = torch.full((2, int(model.hear(features)[1][0])), model.config.vocab.audio_placeholder)
    before, after = (torch.randint(0, 300, (2, n)) for n in (4, 3))
    return {"input_ids": torch.cat((before, held, after), 1), "input_features": features}


@torch.no_grad()
def test_transformers_generate_is_our_own_loop_of_steps(small_model: Any) -> None:
    inputs = _heard(small_model, 37)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    generated = small_model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
    output, tokens = small_model(**inputs, use_cache=True), []
    for _ in range(8):
        tokens.append(output.logits[:, -1].argmax(1))
        output = small_model(
            input_ids=tokens[-1][:, None], past_key_values=output.past_key_values, use_cache=True
        )
    assert torch.equal(torch.stack(tokens, 1), generated)
    assert len(set(generated.flatten().tolist())) > 4
    static = small_model.generate(**inputs, **options, cache_implementation="static")
    assert torch.equal(static[:, inputs["input_ids"].shape[1] :], generated)


@torch.no_grad()
def test_cached_steps_score_as_the_whole_sequence(small_model: Any) -> None:
    ids = torch.randint(0, 340, (2, 12))
    whole = small_model(input_ids=ids).logits
    first = small_model(input_ids=ids[:, :5], use_cache=True)
    scores, cache = [first.logits], first.past_key_values
    for place in range(5, 12):
        step = small_model(input_ids=ids[:, place : place + 1], past_key_values=cache)
        scores.append(step.logits)
    torch.testing.assert_close(torch.cat(scores, 1), whole, atol=1e-5, rtol=1e-5)
    kept = small_model(input_ids=ids, logits_to_keep=2).logits
    torch.testing.assert_close(kept, whole[:, -2:])


@torch.no_grad()
def test_rows_of_a_batch_score_as_they_do_alone(small_model: Any) -> None:
    vocab = small_model.config.vocab
    features, frames = torch.randn(2, 61, 80), torch.tensor([61, 34])
    _, counts = small_model.hear(features, frames)
    rows = [torch.tensor([5, *[vocab.audio_placeholder] * n, 7, 310]) for n in counts.tolist()]
    ids = pad_sequence(rows, batch_first=True, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], True, padding_side="left")
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    batch = small_model(ids, features, frames, mask, positions).logits
    for row, own in enumerate(rows):
        alone = small_model(own[None], features[row : row + 1, : frames[row]]).logits[0]
        torch.testing.assert_close(batch[row, -len(own) :], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_text_alone_is_scored_as_by_the_bare_language_model(small_model: Any) -> None:
    ids = torch.randint(0, 300, (2, 7))
    logits = small_model(input_ids=ids).logits
    assert torch.equal(logits[..., :300], small_model.llm(input_ids=ids).logits)
    assert logits.shape == (2, 7, 341)


def test_activation_checkpointing_changes_no_gradient(small_model: Any) -> None:
    inputs = _heard(small_model, 37)
    norms = []
    for checkpointing in (False, True):
        if checkpointing:
            small_model.activation_checkpointing_enable()
        small_model.zero_grad()
        small_model.train()
        torch.manual_seed(0)
        loss = small_model(**inputs, labels=inputs["input_ids"].clamp(max=340)).loss
        loss.backward()
        norms.append([p.grad.norm() for p in small_model.parameters() if p.grad is not None])
    torch.testing.assert_close(norms[0], norms[1])


@torch.no_grad()
def test_an_id_is_embedded_by_its_own_table(small_model: Any) -> None:
    embeds = small_model.embed(torch.tensor([[0, 299, 300, 340, 342]]))[0]
    text, speech = small_model.backbone.embed_tokens.weight, small_model.speech_embedding.weight
    assert torch.equal(embeds, torch.stack([text[0], text[299], speech[0], speech[40], speech[42]]))


def test_placeholders_must_be_as_many_as_the_embeddings(small_model: Any) -> None:
    inputs = _heard(small_model, 37)
    with pytest.raises(ModelError, match="placeholders for"):
        small_model(input_ids=inputs["input_ids"][:, 5:], input_features=inputs["input_features"])
    with pytest.raises(ModelError, match="give one of them"):
        small_model()


def test_a_saved_network_comes_back_bit_by_bit(small_model: Any, tmp_path: Path) -> None:
    small_model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len([*tmp_path.glob("model-*.safetensors")]) > 1
    again = EChatForConditionalGeneration.from_pretrained(tmp_path)
    before, after = small_model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert again.llm.lm_head.weight is again.llm.model.embed_tokens.weight
    half = EChatForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_a_network_can_be_made_without_memory(small_config: Any) -> None:
    with torch.device("meta"):
        model = EChatForConditionalGeneration(small_config)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
