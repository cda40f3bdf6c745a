# SPDX-License-Identifier: GPL-3.0-or-later
"""How one library reads a published model, as a program: `peer.py transformers|vllm DIRECTORY`.

Standard input has a JSON object: `messages` of a conversation, or `tokens` in their place, and `top`, a
number of tokens. The line of standard output that begins with ANSWER has the library's version, the tokens of
the conversation, what ends a text, and for each position the log probabilities of the tokens that the library
finds the most probable.

Runs on the TPU VM in the serving environment, or with another transformers before it on the path.
"""

from __future__ import annotations

import json
import sys
from typing import Any

Answer = dict[str, Any]


def tokenized(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return list(tokenizer(text)["input_ids"])


def with_transformers(directory: str, given: dict[str, Any]) -> Answer:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    declared = str(model.dtype)
    model = model.float().eval()
    tokens = given.get("tokens") or tokenized(tokenizer, given["messages"])
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    best = logits.log_softmax(-1).topk(given["top"])
    return {
        "version": transformers.__version__,
        "dtype": declared,
        "tokens": tokens,
        "special": sorted(tokenizer.all_special_tokens),
        "ends": model.generation_config.eos_token_id,
        "best": [
            dict(zip(map(str, ids), values, strict=True))
            for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
    }


def with_vllm(directory: str, given: dict[str, Any]) -> Answer:
    import vllm

    top = given["top"]
    llm = vllm.LLM(
        directory, dtype="float32", max_model_len=1024, max_logprobs=top, enforce_eager=True, max_num_seqs=1
    )
    tokenizer = llm.get_tokenizer()
    tokens = given.get("tokens") or tokenized(tokenizer, given["messages"])
    generation = llm.llm_engine.model_config.try_get_generation_config()
    asked = vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=top)
    (told,) = llm.generate({"prompt_token_ids": tokens}, asked)
    # Of each token, given those before it: nothing for the first.
    positions = told.prompt_logprobs[1:]
    return {
        "version": vllm.__version__,
        "dtype": str(llm.llm_engine.model_config.hf_config.dtype),
        "tokens": tokens,
        "special": sorted(tokenizer.all_special_tokens),
        "ends": generation.get("eos_token_id"),
        "best": [{str(token): each.logprob for token, each in known.items()} for known in positions],
    }


if __name__ == "__main__":
    library, where = sys.argv[1:]
    given = json.load(sys.stdin)
    read = {"transformers": with_transformers, "vllm": with_vllm}[library]
    print("ANSWER", json.dumps(read(where, given)), flush=True)
