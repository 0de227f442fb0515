"""What a training step minimises: the task alone, with the float net's predictions, or with BWRF's mixed nets.

With z the network's logits, z_F its float partner's or those of a teacher (the mean of several), KL(p ‖ q) at
temperature τ (times τ², Hinton et al. 2015):

- task: CE(z, y).
- float: CE(z, y) + β·KL(z_F ‖ z). The control for BWRF: the same teacher, no mixed nets.
- BWRF (block-wise replacement; a reconstruction of Yu et al. 2024, arXiv 2412.15846): the quantized net's first k
  stages feed the float partner's last n − k, for k = 1 … n − 1, sharing one quantized forward pass. With z_k their
  logits, z = z_n:
  CE(z, y) + α Σ CE(z_k, y) + β [KL(z_F ‖ z) + Σ KL(z_F ‖ z_k)] + δ Σ KL(z_k ‖ z), where the last does not teach z_k.
  Each quantized prefix is judged by a float tail, and gets a gradient that passed no later quantizer.

Each sum is divided by the sum of its weights, so that its gradient has the size of the task's alone and one learning
rate serves all three. The recipe's norm may add its penalty (`RepVGG.penalty`) to each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from train.config import DistillationConfig
from train.model import RepVGG
from train.partner import FloatPartner, Teacher

# (network, images, labels) -> loss, a scalar
Objective = Callable[[RepVGG, Tensor, Tensor], Tensor]


def make_objective(
    config: DistillationConfig,
    *,
    label_smoothing: float,
    partner: FloatPartner | None = None,
    teacher: Teacher | None = None,
) -> Objective:
    """The loss that a phase's `distillation` names.

    `partner` is the network's own float net; a `teacher` replaces it as the source of z_F, not as BWRF's float tails.
    """
    source = teacher or partner
    if config.kind == "none" or source is None:
        return TaskObjective(label_smoothing)
    if config.kind == "float" or partner is None:
        return FloatDistillation(source, config, label_smoothing)
    return BlockwiseReplacement(partner, config, label_smoothing, teacher=source)


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """τ² · KL(softmax(teacher / τ) ‖ softmax(student / τ)), mean over images; no gradient to the teacher."""
    log_teacher = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


class TaskObjective:
    """Cross-entropy with label smoothing."""

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, network: RepVGG, images: Tensor, labels: Tensor) -> Tensor:
        return self.task(network(images).float(), labels) + network.penalty()

    def task(self, logits: Tensor, labels: Tensor) -> Tensor:
        """CE(logits, labels)."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class FloatDistillation(TaskObjective):
    """The task and a float net's predictions."""

    def __init__(self, teacher: Teacher, config: DistillationConfig, label_smoothing: float) -> None:
        super().__init__(label_smoothing)
        self.teacher, self.config = teacher, config

    def __call__(self, network: RepVGG, images: Tensor, labels: Tensor) -> Tensor:
        logits = network(images).float()
        taught = divergence(self.teacher(images), logits, self.config.temperature)
        weight = self.config.float_weight
        return (self.task(logits, labels) + weight * taught) / (1 + weight) + network.penalty()


class BlockwiseReplacement(FloatDistillation):
    """BWRF: the float partner finishes what each quantized prefix began; it also teaches, unless there is a `teacher`."""

    def __init__(
        self,
        partner: FloatPartner,
        config: DistillationConfig,
        label_smoothing: float,
        *,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(teacher or partner, config, label_smoothing)
        self.partner = partner

    def __call__(self, network: RepVGG, images: Tensor, labels: Tensor) -> Tensor:
        mixed, logits = self.outputs(network, images)
        config, teacher = self.config, self.teacher(images)
        loss = self.task(logits, labels)
        for output in [*mixed, logits]:
            loss = loss + config.float_weight * divergence(teacher, output, config.temperature)
        for output in mixed:
            loss = loss + config.mixed_task_weight * self.task(output.float(), labels)
            loss = loss + config.mixed_weight * divergence(output, logits, config.temperature)
        weights = (
            1
            + config.float_weight
            + len(mixed) * (config.float_weight + config.mixed_task_weight + config.mixed_weight)
        )
        return loss / weights + network.penalty()

    def outputs(self, network: RepVGG, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(logits of the n − 1 mixed nets, logits of the quantized net) from one quantized forward pass."""
        *inner, last = network.stage_outputs(images)
        mixed = [self.partner.tail(x, stages_done=stages_done) for stages_done, x in enumerate(inner, start=1)]
        return mixed, network.head(last).float()
