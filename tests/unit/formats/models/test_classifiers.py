from __future__ import annotations

from typing import Any

import pytest

from adapterops.formats.models.classifiers import as_classifier, classifier, labels_of, missing

CLASS = "LlamaForSequenceClassification"


@pytest.mark.parametrize(
    ("model_type", "fields", "name"),
    [
        ("llama", {"task_type": "SEQ_CLS"}, CLASS),
        ("llama", {"task_type": "TOKEN_CLS"}, "LlamaForTokenClassification"),
        ("llama", {"auto_mapping": {"base_model_class": CLASS}}, CLASS),
        ("llama", {"task_type": "CAUSAL_LM", "auto_mapping": {"base_model_class": CLASS}}, None),
        ("llama", {"auto_mapping": {"base_model_class": "BertForSequenceClassification"}}, None),
        ("gpt-sw3", {"task_type": "SEQ_CLS"}, "GPT2ForSequenceClassification"),
        ("opt", {"task_type": "TOKEN_CLS"}, None),
        ("t5", {"task_type": "SEQ_CLS"}, "T5ForSequenceClassification"),
        ("qwen3_asr", {"task_type": "TOKEN_CLS"}, "Qwen3ASRForTokenClassification"),
        ("qwen3_asr", {"task_type": "SEQ_CLS"}, None),
        ("t5", {"task_type": "QUESTION_ANS"}, "T5ForQuestionAnswering"),
        ("bert", {"auto_mapping": {"base_model_class": "BertForQuestionAnswering"}}, "BertForQuestionAnswering"),
        ("llama", {"task_type": "QUESTION_ANS"}, None),
        ("remote", {"task_type": "SEQ_CLS"}, None),
    ],
)
def test_the_class_of_a_classifier(model_type: str, fields: dict[str, Any], name: str | None) -> None:
    assert classifier({"model_type": model_type}, fields) == name


def test_labels_keep_their_names_where_there_are_as_many() -> None:
    config = {"id2label": {"0": "no", "1": "yes"}, "num_labels": 2}
    assert as_classifier(config, CLASS, 2)["label2id"] == {"no": 0, "yes": 1}
    assert as_classifier(config, CLASS, 1) == {
        "architectures": [CLASS],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }


def test_how_many_labels_a_head_tells_apart() -> None:
    assert labels_of({"score.weight": (3, 8)}) == 3
    assert labels_of({"pre_classifier.weight": (8, 8), "classifier.weight": (2, 8)}) == 2
    assert labels_of({"classifier.bias": (2,)}) is None


def test_a_module_that_a_class_needs() -> None:
    assert missing({"model_type": "bert"}, "BertForSequenceClassification", ["bert.encoder.weight"]) == "pooler"
    assert missing({"model_type": "bert"}, "BertForSequenceClassification", ["pooler.dense.weight"]) is None
    assert missing({"model_type": "bert"}, "BertForTokenClassification", []) is None
    assert (
        missing({"model_type": "bart"}, "BartForSequenceClassification", ["model.decoder.layers.0.fc1.bias"])
        == "encoder"
    )
