"""The teacher: an fp32, unsharded exponential moving average of the student.

fp32 because an average kept in bf16 stands still: at momentum 0.996 a step changes less than the
format's last bit. Unsharded because it is small and every rank needs all of it for its forward.
"""

import torch
from torch import Tensor, nn

from vills.train.engine import Engine


@torch.no_grad()
def update_teacher(teacher: nn.Module, *, student: Engine, momentum: float) -> None:
    """Set teacher = momentum * teacher + (1 - momentum) * student, for every parameter.

    Buffers are left alone: the teacher's batch norm sees its own batches, as in DINO and iBOT.
    """
    with student.gathered_parameters() as sources:
        targets: list[Tensor] = [p.data for p in teacher.parameters()]
        assert len(targets) == len(sources), "teacher and student must be the same architecture"
        torch._foreach_lerp_(targets, [p.data.float() for p in sources], 1.0 - momentum)
