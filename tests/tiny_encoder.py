"""A sentence encoder of a few kilobytes, in the files that fastembed reads: made by the tests, run by the real loaders.

A tokenizer of whole words, a table of token vectors, one dense layer, mean pooling. Texts that share words are near.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

WORDS = [
    *("bitcoin", "climbs", "after", "the", "rate", "cut", "markets", "rally"),
    *("my", "cat", "sleeps", "on", "sofa", "all", "day", "and"),
    *string.ascii_lowercase,
]
MAX_TOKENS = 64


def make_encoder(folder: Path, *, dimensions: int = 8, seed: int = 1) -> Path:
    """Write the model into `folder`, which a chain names by its path below the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[PAD]", "[UNK]", *WORDS])}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"model_max_length": MAX_TOKENS, "pad_token": "[PAD]"})
    write_json(folder / "config.json", {"pad_token_id": 0, "hidden_size": dimensions})
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": dimensions, "pooling_mode_mean_tokens": True},
    )
    chance = np.random.default_rng(seed)
    table = chance.standard_normal((len(WORDS) + 2, dimensions)).astype(np.float32)
    dense = np.linalg.qr(chance.standard_normal((dimensions, dimensions)))[0].astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "dense"], ["hidden"]),
        helper.make_node("Identity", ["hidden"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens_in"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "tokens_in"]),
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens_in", dimensions])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(dense, "dense")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
