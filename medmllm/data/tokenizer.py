"""A tokenizer made from the training texts, for models that start from scratch."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from medmllm.data.records import Record

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"


def build_tokenizer(records: Iterable[Record], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over questions, answers, sentences and captions.

    Bytes are the alphabet, so no text is ever unknown and decoding gives back what was encoded; frequent words
    become single tokens. The same records give the same tokenizer.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(records), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _texts(records: Iterable[Record]) -> Iterable[str]:
    yield "USER: \n ASSISTANT:"
    for record in records:
        for question, answer in record.turns:
            yield f" {question}"
            yield f" {answer}"
        yield f" {record.sentence}"
        yield f" {record.caption}"
