"""The recipe's sections for data, model and training; unknown keys are errors. `repedge.recipe` composes them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of every recipe section: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentConfig(Section):
    """Augmentation on tensors. `shift_pixels` pads with black and crops; `rotate_degrees` and `scale` are random affine ranges."""

    shift_pixels: int = Field(0, ge=0, le=16)
    horizontal_flip: bool = False
    rotate_degrees: float = Field(0.0, ge=0, le=45)
    scale: float = Field(0.0, ge=0, le=0.5)
    cutout_pixels: int = Field(0, ge=0, le=32)


Side = Annotated[int, Field(ge=1, le=4096)]  # pixels
Bits = Annotated[int, Field(ge=2, le=8)]


class DataConfig(Section):
    """Which images. `path` (relative to the data folder, or absolute) names the folder of an `idx` or `folder` set."""

    name: Literal["digits", "cifar10", "idx", "folder"] = "digits"
    path: Path | None = None
    resize: tuple[Side, Side] | None = Field(None, description="[H, W] every image is resized to")
    channels: Literal[1, 3] | None = Field(None, description="folder sets only: 1 = grey, 3 = RGB (default)")
    validation_share: float = Field(0.1, ge=0.0, lt=0.9)
    augment: AugmentConfig = AugmentConfig()


EdgeSize = Literal["xs", "s", "m"]
OfficialSize = Literal[
    "a0", "a1", "a2", "b0", "b1", "b1g2", "b1g4", "b2", "b2g2", "b2g4", "b3", "b3g2", "b3g4"
]  # fmt: skip


class ModelConfig(Section):
    """A RepVGG: either `size` or widths, depths and strides, one entry per stage.

    Sizes xs, s, m are 32×32 edge nets; a0 … b3g4 are RepVGG-A0 … B3g4 (Ding et al. 2021, 224×224). With `groups` > 1
    every second block after the first is grouped, as in B1g2: such a net trains and merges, but is not lowered.
    """

    size: EdgeSize | OfficialSize | None = None
    groups: int = Field(1, ge=1, description="of blocks 3, 5, 7 …, counted from 1; official sizes know theirs")
    widths: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ModelConfig:
        explicit = (self.widths, self.depths, self.strides)
        if self.size is None and any(part is None for part in explicit):
            raise ValueError("give model.size (xs, s, m …) or all of model.widths, model.depths and model.strides")
        if self.size is not None and self.groups != 1:
            raise ValueError(
                "model.groups: a size knows its groups; name b1g2 … b3g4, or give widths, depths and strides"
            )
        if self.size is not None and any(part is not None for part in explicit):
            raise ValueError("model.size and model.widths/depths/strides exclude each other; remove one of them")
        if self.size is None:
            assert self.widths is not None and self.depths is not None and self.strides is not None
            if not self.widths or not len(self.widths) == len(self.depths) == len(self.strides):
                raise ValueError("model.widths, model.depths and model.strides need one entry per stage each")
            if min(self.widths) < 1 or max(self.widths) > 2048:
                raise ValueError("model.widths: each width is 1 to 2048 channels")
            if min(self.depths) < 1:
                raise ValueError("model.depths: each stage has at least 1 block")
            if any(stride not in (1, 2) for stride in self.strides):
                raise ValueError("model.strides: each stride is 1 or 2")
        return self


class NormConfig(Section):
    """The norm of a block's branches; every kind merges exactly (`train.norms`, `train.model`).

    `bn` is BatchNorm2d everywhere. `oabn` (ratio bounded by T), `sigma_floor` (σ >= alpha · median σ) and
    `shared_sigma` (one σ per layer) replace it on `branches` (default: identity). `none` leaves those branches without
    a norm. Two kinds are whole block designs and ignore `branches`: `qarep` (QARepVGG: BN on 3×3 only, BN after the
    sum) and `mimic` (MimicNorm: no BN but one on the logits, kernels kept at zero mean).
    """

    kind: Literal["bn", "oabn", "sigma_floor", "shared_sigma", "none", "qarep", "mimic"] = "oabn"
    branches: tuple[Literal["identity", "1x1", "3x3"], ...] = Field(
        ("identity",), description="where oabn, sigma_floor, shared_sigma or none replaces BatchNorm2d"
    )
    bound: Literal["layer", "robust", "constant"] = Field(
        "layer", description="oabn: T from the layer's kernel, from the ratios' median and MAD, or `constant`"
    )
    mode: Literal["tanh", "clip"] = "tanh"
    kappa: float = Field(1.0, gt=0, description="layer bound: T = kappa · max|W| of the classes B and C")
    constant: float = Field(0.5, gt=0, description="constant bound: T")
    alpha: float = Field(0.5, gt=0, description="sigma_floor: the floor as a share of the layer's median σ")
    penalty: float = Field(0.0, ge=0, description="λ of λ·Σ max(0, |γ/σ| − penalty_bound)², identity branch, any kind")
    penalty_bound: float = Field(0.5, gt=0)
    decay_identity: bool = Field(False, description="weight decay also on γ of the identity branch")


class DistillationConfig(Section):
    """What a phase's loss adds to the task loss (`train.objective`): nothing, a float net's predictions, or BWRF.

    The float net is the QAT net's own from the float phase, or `teacher`: the float net of a run folder or of
    `zoo:NAME`, of any size, with the same classes and input. Several teachers teach the mean of their logits.
    """

    kind: Literal["none", "float", "bwrf"] = "none"
    teacher: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="run folder or zoo:NAME, or a list of them (an ensemble); the float phase needs one"
    )
    views: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="augmented views of each image, seen in turn; the teacher sees each once and its logits are kept. null: new views every epoch",
    )
    mirror: bool | None = Field(
        None, description="true: the teacher's logits are the mean over a view and its mirror image, at twice the cost"
    )
    temperature: float = Field(1.0, gt=0, description="of both softmaxes in the divergences")
    float_weight: float = Field(1.0, ge=0, description="β: KL(float net ‖ each trained output)")
    mixed_task_weight: float = Field(0.5, ge=0, description="bwrf α: cross-entropy of the mixed-precision outputs")
    mixed_weight: float = Field(0.5, ge=0, description="bwrf δ: KL(mixed-precision output ‖ quantized output)")

    @property
    def teachers(self) -> list[str]:
        """The named teachers; [] is the QAT net's own float net."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []

    @model_validator(mode="after")
    def _teaches(self) -> DistillationConfig:
        for name in ("teacher", "views", "mirror"):
            if getattr(self, name) is not None and self.kind == "none":
                raise ValueError(
                    f"distillation.{name} is given but kind is none; set distillation.kind to float or bwrf"
                )
        return self


class PhaseConfig(Section):
    """One training phase: SGD with momentum, AdamW or Muon, warm-up, cosine to zero, EMA of the weights."""

    epochs: int = Field(ge=0)
    batch_size: int = Field(128, ge=2)
    optimizer: Literal["sgd", "adamw", "muon"] = Field(
        "sgd",
        description="sgd: Nesterov; adamw: β₂ = 0.99, `momentum` is β₁; muon: orthogonalised kernel steps, rates near 0.02, float phase only",
    )
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    warmup_epochs: float = Field(0.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="of forward and backward in training; parameters, statistics and evaluation stay float32"
    )
    compile: bool = Field(False, description="compile the training step (needs a C++ compiler; half a minute to start)")
    distillation: DistillationConfig = DistillationConfig()


class QatPhaseConfig(PhaseConfig):
    """The QAT phase: without a teacher it distils from its own float net."""

    optimizer: Literal["sgd", "adamw"] = Field(
        "adamw", description="a merged net has no norm left to even its gradients out: adamw does; rates near 0.001"
    )
    learning_rate: float = Field(0.0015, gt=0)
    fold_branches: bool = Field(
        True, description="start from t·W, γ = σ = 1 in every branch, so that a rate means the same in all layers"
    )


class WeightQuantizerConfig(Section):
    """How QAT quantizes merged kernels; one codebook per tensor, always on the int8 grid.

    `cluster` trains a codebook of 2^bit_width entries with hard assignment, `dkm` with soft assignment. `lsq` and
    `lsq_plus` train a uniform step over levels with zero, `uniq` and `heq` use symmetric levels around zero (without
    zero below 8 bits), `apot` sums of powers of two. `none` leaves weights in float: a control, not convertible.
    """

    method: Literal["cluster", "dkm", "lsq", "lsq_plus", "uniq", "heq", "apot", "none"] = "cluster"
    bit_width: int = Field(4, ge=2, le=8)
    first_bit_width: int = Field(8, ge=2, le=8)
    last_bit_width: int = Field(8, ge=2, le=8)
    layers: dict[str, Bits] = Field({}, description="layer name -> bit width, over the three above")
    per_channel_scale: bool = False
    recluster_until: float = Field(0.5, ge=0, le=1, description="share of the QAT phase with a Lloyd refresh per epoch")
    freeze_from: float = Field(0.85, ge=0, le=1, description="share of the QAT phase after which indices are frozen")
    codebook_learning_rate_factor: float = Field(
        1.0, gt=0, description="of the phase's rate, for entries in grid units"
    )
    max_entries: int = Field(
        255, ge=3, le=255, description="cluster, dkm: entries per codebook; 32 fit Ethos-U's palette"
    )
    codebook_gradient: Literal["mean", "sum"] = Field(
        "mean", description="cluster: gradient of an entry over its cluster"
    )
    temperature: float = Field(1e-4, gt=0, description="dkm: τ in units of max|W|²")
    oscillation_threshold: float | None = Field(
        0.01,
        gt=0,
        lt=1,
        description="cluster, lsq, lsq_plus, uniq: a weight whose entry turns back more often per step is held; null: none is, "
        "nor where all layers have 8 bits",
    )


class ActivationQuantizerConfig(Section):
    """Unsigned levels per tensor after each ReLU, a trained scale. Image input and logits stay 8 bit.

    The methods differ in the scale's start: `lsq_plus` least squared error, `lsq` 2·mean/√levels, `uniq` optimal for a
    half-normal distribution. LSQ+'s trained offset is 0 here: after ReLU the lowest value is 0, and the integer model
    clamps there. `none` leaves activations in float: a control, not convertible.
    """

    method: Literal["lsq_plus", "lsq", "uniq", "none"] = "lsq_plus"
    bit_width: int = Field(8, ge=2, le=8)


class PostTrainingConfig(Section):
    """How `convert` quantizes a net that never saw QAT."""

    activations: Literal["min_max", "mse", "percentile"] = "min_max"
    percentile: float = Field(
        99.99, gt=50, le=100, description="percentile: share of positive activations kept unclipped"
    )
    weights: Literal["kmeans", "uniform", "uniform_mse"] = Field(
        "kmeans",
        description="optimal int8 codebook, or uniform levels with the step from max|W| or least squared error",
    )
    reconstruction: Literal["none", "adaround", "repapq"] = Field(
        "none", description="then fit every layer to its float output: roundings, or an affine and the kernel"
    )
    diagonal_split: bool = Field(
        False, description="keep the centre tap's diagonal apart, 8 bit: a rival measured for its accuracy, not lowered"
    )
    iterations: int = Field(400, ge=1, description="reconstruction: steps per layer, 32 images each")


class QuantizeConfig(Section):
    """Weights and activations in QAT; `post_training` where there was none."""

    weights: WeightQuantizerConfig = WeightQuantizerConfig()
    activations: ActivationQuantizerConfig = ActivationQuantizerConfig()
    mean_norm_until: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the QAT phase with a mean-only batch norm after each convolution, its means then fixed in the biases; 0: none",
    )
    post_training: PostTrainingConfig = PostTrainingConfig()


class TrainConfig(Section):
    """Float phase, then QAT phase. `qat_phase.epochs: 0` leaves quantization to `convert` (post-training).

    `start_from` (a run folder or `zoo:NAME`) replaces the float phase by that model's float net; with
    `qat_phase.epochs: 0` nothing is trained, and a model that is quantized already stays as it is. `continue_from`
    (the same kinds of source) gives the float phase its first weights, and it trains on from there.
    """

    start_from: str | None = None
    continue_from: str | None = None
    float_phase: PhaseConfig = PhaseConfig(epochs=20)
    qat_phase: QatPhaseConfig = QatPhaseConfig(epochs=10)
    threads: int = Field(0, ge=0, description="CPU threads; 0 = all")

    @model_validator(mode="after")
    def _one_source(self) -> TrainConfig:
        if self.start_from is not None and self.continue_from is not None:
            raise ValueError(
                "train.start_from (instead of a float phase) and train.continue_from exclude each other; remove one"
            )
        return self

    @model_validator(mode="after")
    def _float_phase_has_a_teacher(self) -> TrainConfig:
        config = self.float_phase.distillation
        if config.kind == "bwrf" or (config.kind == "float" and config.teacher is None):
            raise ValueError(
                f"float_phase.distillation: kind {config.kind}{'' if config.teacher else ' without a teacher'}; allowed is "
                "kind float with a teacher (bwrf needs a quantized net); name one, or move it to qat_phase"
            )
        return self


class TrainingRecipe(Section):
    """All that the training stage depends on."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    data: DataConfig = DataConfig()
    model: ModelConfig
    norm: NormConfig = NormConfig()
    train: TrainConfig = TrainConfig()
    quantize: QuantizeConfig = QuantizeConfig()

    @model_validator(mode="after")
    def _muon_needs_norms(self) -> TrainingRecipe:
        if self.train.float_phase.optimizer == "muon" and self.norm.kind == "mimic":
            raise ValueError(
                "train.float_phase.optimizer muon holds kernels at one size, but norm.kind mimic puts no norm behind them; "
                "allowed with it are sgd and adamw"
            )
        return self

    def sources(self) -> list[str]:
        """The trained models that this training starts from or learns from."""
        phases = self.train.float_phase, self.train.qat_phase
        names = [self.train.start_from, self.train.continue_from, *chain(*(p.distillation.teachers for p in phases))]
        return sorted({name for name in names if name is not None})
