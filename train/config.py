"""The recipe's sections for data, model and training; unknown keys are errors. `repedge.recipe` composes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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


class DataConfig(Section):
    """Which images. `path` (relative to the data folder, or absolute) names the folder of an `idx` or `folder` set."""

    name: Literal["digits", "cifar10", "idx", "folder"] = "digits"
    path: Path | None = None
    resize: tuple[int, int] | None = Field(None, description="[H, W] every image is resized to")
    channels: Literal[1, 3] | None = Field(None, description="folder sets only: 1 = grey, 3 = RGB (default)")
    validation_share: float = Field(0.1, ge=0.0, lt=0.9)
    augment: AugmentConfig = AugmentConfig()


class ModelConfig(Section):
    """A RepVGG: either `size` (xs, s, m: 32×32 edge nets) or widths, depths and strides, one entry per stage."""

    size: Literal["xs", "s", "m"] | None = None
    widths: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ModelConfig:
        explicit = (self.widths, self.depths, self.strides)
        if self.size is None and any(part is None for part in explicit):
            raise ValueError("give model.size (xs, s, m) or all of model.widths, model.depths and model.strides")
        if self.size is not None and any(part is not None for part in explicit):
            raise ValueError("model.size and model.widths/depths/strides exclude each other; remove one of them")
        if self.size is None:
            assert self.widths and self.depths and self.strides
            if not len(self.widths) == len(self.depths) == len(self.strides):
                raise ValueError("model.widths, model.depths and model.strides need one entry per stage each")
            if min(self.widths) < 1 or max(self.widths) > 2048:
                raise ValueError("model.widths: each width is 1 to 2048 channels")
            if min(self.depths) < 1:
                raise ValueError("model.depths: each stage has at least 1 block")
            if any(stride not in (1, 2) for stride in self.strides):
                raise ValueError("model.strides: each stride is 1 or 2")
        return self


class NormConfig(Section):
    """The batch norm of the identity branch. `oabn` bounds γ/σ by `bound` (methods of the reconstruction, R1 a/b/c)."""

    kind: Literal["bn", "oabn"] = "oabn"
    bound: Literal["layer", "robust", "constant"] = "layer"
    mode: Literal["tanh", "clip"] = "tanh"
    kappa: float = Field(1.0, gt=0, description="layer bound: T = kappa · max|W| of the classes B and C")
    constant: float = Field(0.5, gt=0, description="constant bound: T")


class PhaseConfig(Section):
    """One training phase: SGD with momentum, warm-up, cosine to zero, EMA of the weights."""

    epochs: int = Field(ge=0)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    warmup_epochs: float = Field(0.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema_decay: float = Field(0.99, ge=0, lt=1)


class WeightQuantizerConfig(Section):
    """`cluster` learns a codebook of 2^bit_width int8 entries per layer, `lsq` a uniform step. One codebook per tensor."""

    method: Literal["cluster", "lsq"] = "cluster"
    bit_width: int = Field(4, ge=2, le=8)
    first_bit_width: int = Field(8, ge=2, le=8)
    last_bit_width: int = Field(8, ge=2, le=8)
    layers: dict[str, int] = Field({}, description="layer name -> bit width, over the three above")
    per_channel_scale: bool = False
    recluster_until: float = Field(0.5, ge=0, le=1, description="share of the QAT phase with a Lloyd refresh per epoch")
    freeze_from: float = Field(0.85, ge=0, le=1, description="share of the QAT phase after which indices are frozen")
    codebook_learning_rate_factor: float = Field(0.1, gt=0)


class ActivationQuantizerConfig(Section):
    """Unsigned per-tensor LSQ after each ReLU. Image input and logits stay 8 bit."""

    bit_width: int = Field(8, ge=2, le=8)


class QuantizeConfig(Section):
    """Weights and activations."""

    weights: WeightQuantizerConfig = WeightQuantizerConfig()
    activations: ActivationQuantizerConfig = ActivationQuantizerConfig()


class TrainConfig(Section):
    """Float phase, then QAT phase. `qat.epochs: 0` leaves quantization to `convert` (post-training)."""

    float_phase: PhaseConfig = PhaseConfig(epochs=20)
    qat_phase: PhaseConfig = PhaseConfig(epochs=10, learning_rate=0.01)
    threads: int = Field(0, ge=0, description="CPU threads; 0 = all")


class TrainingRecipe(Section):
    """All that the training stage depends on."""

    seed: int = 0
    data: DataConfig = DataConfig()
    model: ModelConfig
    norm: NormConfig = NormConfig()
    train: TrainConfig = TrainConfig()
    quantize: QuantizeConfig = QuantizeConfig()
