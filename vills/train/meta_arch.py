"""Student, teacher and losses: the only place where models meet losses (paper section 3.2).

Legend: B rows of a source on this rank, L role tokens, D width, K prototypes; 2 global views.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vills.config.pretrain import PretrainConfig
from vills.data.loading import PretrainBatch
from vills.distributed import get_device, reduce_mean
from vills.losses.alignment import AlignmentLoss, HardestPairLoss, VideoIndexLoss
from vills.losses.distillation import FeatureLoss, MaskedTokenLoss
from vills.losses.koleo import KoLeoLoss
from vills.models.backbone import Backbone
from vills.models.encoder import COARSE
from vills.models.network import TERMS, NetworkOutput, VillsNetwork, build_network
from vills.models.published import LoadReport, load_published
from vills.train.engine import Engine, build_engine
from vills.train.health import compute_gradient_norms

KOLEO_SOURCES = ("image", "video")
"""Tokens that L^r spreads: one source per modality, as z^s of eq. 10 (z^vi repeats the video)."""


@dataclass(slots=True)
class StepOutput:
    """What one step computed."""

    terms: dict[str, Tensor]
    """Raw scalar of every term that is on; the mean over ranks is the global value."""
    teacher: NetworkOutput
    """The teacher's output, from which centers and health are taken."""
    gradient_norm: float = 0.0
    """Of the weighted sum on all parameters, before clipping."""
    metrics: dict[str, float] = field(default_factory=dict)
    """On a health step: `gradient/<term>`."""


class SSLMetaArch:
    """Eq. 12: raw terms from student and teacher, one weighted sum, and the teacher's update.

    A term of weight 0 has no head and is not computed. `reading=literal` takes eq. 8, 9 and 10 as
    printed: L^f over all L tokens, masks after R, KoLeo over all of the student's tokens.
    """

    def __init__(
        self, config: PretrainConfig, *, num_videos: int = 0, initial: Path | None = None
    ) -> None:
        """Build networks and losses on this rank's device.

        Args:
            config: all random weights come from its seed, with `initial` and without.
            num_videos: videos of the data, which the index reading of L^a classifies.
            initial: the file of `config.initial`, from which both encoders start.

        Raises:
            WeightsError: if the file does not fit the encoder.
        """
        assert (initial is not None) == bool(config.initial.file), "initial is named by the config"
        self.config = config
        self.device = get_device()
        self.weights = {
            term: weight for term in TERMS if (weight := getattr(config, f"{term}_weight")) > 0
        }
        classified = config.aligns_index and config.alignment_weight
        assert num_videos or not classified, "classes of the index reading are the data's videos"
        torch.manual_seed(config.seed)
        network = build_network(config, num_videos=num_videos)
        self.initial: LoadReport | None = None
        if initial is not None:
            self.initial = load_published(
                network.backbone.encoder,
                initial,
                layout=config.initial.layout,
                normalisation=config.initial.normalisation,
            )
        network = network.to(self.device)
        self.teacher: VillsNetwork = copy.deepcopy(network).requires_grad_(False)
        centering: dict[str, Any] = {
            "student_temperature": config.student_temperature,
            "centering": config.centering,
            "center_momentum": config.center_momentum,
        }
        self._feature = FeatureLoss(
            network.get_feature_keys(), config.heads.feature_prototypes, **centering
        )
        self._masked = MaskedTokenLoss(
            network.get_masking_keys(), config.heads.masking_prototypes, **centering
        )
        self._koleo = KoLeoLoss(group=config.koleo_group)
        self._alignment = AlignmentLoss()
        self._hardest_pairs = HardestPairLoss()
        self._video_index = VideoIndexLoss()
        self._losses = nn.ModuleDict({"feature": self._feature, "masking": self._masked})
        self._losses.to(self.device)
        self.student = build_engine(network, config=config)

    def compute_losses(
        self,
        batch: PretrainBatch,
        *,
        teacher_temperature: float,
        student: NetworkOutput | None = None,
        teacher: NetworkOutput | None = None,
    ) -> StepOutput:
        """Run both networks and compute all raw terms; changes no center and no parameter.

        Args:
            batch: this rank's rows of a step.
            teacher_temperature: of the step.
            student: output of a copy of the student; None: the student runs.
            teacher: output of the teacher, if it is known; None: the teacher runs.
        """
        if teacher is None:
            teacher = self._run_teacher(batch)
        if student is None:
            student = self.student(batch, role="student")
        assert student is not None
        terms: dict[str, Tensor] = {}
        if "feature" in self.weights:
            terms["feature"] = self._feature(
                student.features, teacher.features, teacher_temperature=teacher_temperature
            )
        if "masking" in self.weights:
            terms["masking"] = self._masked(
                student.masked, teacher.masked, teacher_temperature=teacher_temperature
            )
        if "koleo" in self.weights:
            terms["koleo"] = self._koleo(self._collect_koleo(student))
        if student.alignment is not None:
            pairs = student.alignment
            terms["alignment"] = (
                self._hardest_pairs(pairs.video, pairs.frame, pairs.labels)
                if pairs.scale is None
                else self._alignment(pairs.video, pairs.frame, pairs.scale)
            )
        if student.index is not None:
            logits = student.index
            terms["index"] = self._video_index(logits.video, logits.frame, logits.labels)
        return StepOutput(terms, teacher)

    def compute_gradient_norms(
        self, output: StepOutput, batch: PretrainBatch, *, teacher_temperature: float
    ) -> dict[str, float]:
        """Norm of every weighted term's gradient on the student's encoder and resampler.

        These are the parameters that all terms compete for. Called before the backward of
        `output`, whose graph is kept. ZeRO-3 frees parameters after each use, so that its graph
        serves one backward only: there a whole copy of the student repeats the forward.
        """
        backbone, terms = self.student.module.backbone, output.terms
        if self.student.stage == 3:
            copied = self._copy_student().requires_grad_(True)
            student = self._run(copied, batch, role="student")
            backbone = copied.backbone
            terms = self.compute_losses(
                batch,
                teacher_temperature=teacher_temperature,
                student=student,
                teacher=output.teacher,
            ).terms
        assert isinstance(backbone, Backbone)
        return compute_gradient_norms(
            self.compute_weighted(terms), parameters=backbone.parameters()
        )

    def compute_weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Terms times their lambda; both readings of eq. 11 have lambda_4."""
        weights = self.weights | {"index": self.weights.get("alignment", 0.0)}
        return {name: weights[name] * term for name, term in terms.items()}

    def compute_total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Eq. 12, the one weighted sum."""
        return torch.stack(list(self.compute_weighted(terms).values())).sum()

    def compute_means(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Raw terms and `total`, over all ranks."""
        values = torch.stack([*terms.values(), self.compute_total(terms)])
        return dict(zip([*terms, "total"], reduce_mean(values).tolist(), strict=True))

    def update_teacher(self, output: StepOutput, *, momentum: float) -> None:
        """After the student's step: move the centers, then the teacher."""
        self._feature.update_centers(output.teacher.features)
        self._masked.update_centers(output.teacher.masked)
        update_ema(self.teacher, student=self.student, momentum=momentum)

    @torch.no_grad()
    def observe_teacher(
        self, teacher: NetworkOutput, *, teacher_temperature: float
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """`source/role` -> (targets [2 * B, K], features [2 * B, D]) for the health windows."""
        observed = {}
        for source, roles in teacher.features.items():
            index = self.teacher.get_roles("video" if source == "video" else "image")
            for role, views in roles.items():
                targets = self._feature.centering.compute_targets(
                    views.logits, key=f"{source}/{role}", temperature=teacher_temperature
                )
                tokens = teacher.tokens[source][:, :, index[role]]
                observed[f"{source}/{role}"] = (targets.flatten(0, 1), tokens.flatten(0, 1))
        return observed

    def probe_teacher(
        self, batch: PretrainBatch, *, teacher_temperature: float
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """`observe_teacher` outside training: the batch norms forget that they saw the batch."""
        buffers = {name: value.clone() for name, value in self.teacher.named_buffers()}
        output = self._run_teacher(batch)
        for name, value in self.teacher.named_buffers():
            value.copy_(buffers[name])
        return self.observe_teacher(output, teacher_temperature=teacher_temperature)

    def compute_state(self) -> dict[str, Any]:
        """Everything that training changes, whole and on CPU."""
        return {
            "student": self.student.compute_state(),
            "optimizer": self.student.compute_optimizer_state(),
            "teacher": _to_cpu(self.teacher.state_dict()),
            "losses": _to_cpu(self._losses.state_dict()),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `compute_state`, from any ZeRO stage and world size."""
        self.student.load_state(state["student"])
        self.student.load_optimizer_state(state["optimizer"])
        self.teacher.load_state_dict(state["teacher"])
        self._losses.load_state_dict(state["losses"])

    def build_exports(self) -> dict[str, Backbone]:
        """Plain backbones by name: what fine-tuning and extraction load."""
        return {"student": self._copy_student().backbone, "teacher": self.teacher.backbone}

    def _copy_student(self) -> VillsNetwork:
        """Return a plain, whole copy of the student, without gradient."""
        student = copy.deepcopy(self.teacher)
        student.load_state_dict(self.student.compute_state())
        return student

    def _run_teacher(self, batch: PretrainBatch) -> NetworkOutput:
        """Forward on the global views, in training mode: batch norm uses the batch (DINO, iBOT).

        No term that is on may ask for it: then it is not computed.
        """
        if not {"feature", "masking"} & self.weights.keys():
            return NetworkOutput(tokens={})
        with torch.no_grad():
            return self._run(self.teacher, batch, role="teacher")

    def _run(self, network: VillsNetwork, batch: PretrainBatch, *, role: str) -> NetworkOutput:
        """Forward of a network that no engine wraps, at the engine's precision."""
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            output: NetworkOutput = network(batch, role=role)
        return output

    def _collect_koleo(self, student: NetworkOutput) -> list[Tensor]:
        """Coarse tokens [2, B, D] per modality, or all spatial roles side by side [2, B, n * D].

        To the letter all tokens [2, B, L, D].
        """
        tokens = [student.tokens[name] for name in KOLEO_SOURCES if name in student.tokens]
        if self.config.reading == "literal":
            return tokens
        chosen = [COARSE]
        if self.config.koleo_tokens == "roles":
            chosen = list(self.teacher.backbone.get_roles("image").values())
        return [views[:, :, chosen].flatten(2) for views in tokens]


@torch.no_grad()
def update_ema(teacher: nn.Module, *, student: Engine, momentum: float) -> None:
    """Set teacher = momentum * teacher + (1 - momentum) * student, for every parameter.

    The teacher is fp32 because an average kept in bf16 stands still: at momentum 0.996 a step
    changes less than the format's last bit. It is unsharded because it is small and every rank
    needs all of it for its forward.
    Buffers are left alone: the teacher's batch norm sees its own batches, as in DINO and iBOT.
    """
    with student.gathered_parameters() as sources:
        targets: list[Tensor] = [p.data for p in teacher.parameters()]
        assert len(targets) == len(sources), "teacher and student must be the same architecture"
        torch._foreach_lerp_(targets, [p.data.float() for p in sources], 1.0 - momentum)


def _to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}
