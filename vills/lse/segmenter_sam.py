"""M by segment-anything (the paper's): one image embedding, all areas in one decoder call.

Shapes: B crops; A areas with a positive point; n = 17 COCO keypoints; S side of SAM's square input.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from vills.lse.crop import Crop, Floats, Labels
from vills.lse.segmenter import AreaMask, AreaMasks, has_positive


class SamSegmenter:
    """The masks that `SamPredictor.predict` gives for the same points, for a batch of crops.

    `SamPredictor` embeds one image per call; here the crops of a batch go through the image encoder
    together, and the areas of a crop through the mask decoder together. Prompts of several points
    are unambiguous, so the decoder's single-mask output is taken (`multimask_output=False`).
    With `precision` bf16 the image encoder, nearly all of the work, runs under autocast; the
    decoder, which places the outline, stays in fp32.
    """

    def __init__(self, model: Sam, *, device: torch.device, precision: str = "fp32") -> None:
        self._model = model.eval().to(device)
        self._device = device
        self._half = precision == "bf16"
        self._transform = ResizeLongestSide(model.image_encoder.img_size)

    @torch.inference_mode()
    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        """Segment the areas of each crop; the score is SAM's predicted IoU."""
        areas = [[a for a, v in prompts.items() if has_positive(v)] for prompts in labels]
        # The embedding is the cost: a crop that nothing prompts gets none.
        wanted = [i for i, names in enumerate(areas) if names]
        found: list[AreaMasks] = [{} for _ in crops]
        if not wanted:
            return found
        resized = [self._transform.apply_image(crops[i].image) for i in wanted]
        inputs = torch.stack([self._model.preprocess(self._to_tensor(i)) for i in resized])
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half):
            embeddings = self._model.image_encoder(inputs).float()  # [B, C, S/16, S/16]
        for i, image, embedding in zip(wanted, resized, embeddings, strict=True):
            found[i] = self._decode(
                embedding,
                size=(crops[i].height, crops[i].width),
                resized=(int(image.shape[0]), int(image.shape[1])),
                points=points[i],
                labels={area: labels[i][area] for area in areas[i]},
            )
        return found

    def _decode(
        self,
        embedding: torch.Tensor,
        *,
        size: tuple[int, int],
        resized: tuple[int, int],
        points: Floats,
        labels: Mapping[str, Labels],
    ) -> AreaMasks:
        coords = torch.as_tensor(
            self._transform.apply_coords(points, size), dtype=torch.float, device=self._device
        )
        stacked = torch.as_tensor(
            np.stack(list(labels.values())), dtype=torch.int, device=self._device
        )  # [A, n]
        sparse, dense = self._model.prompt_encoder(
            points=(coords.expand(len(labels), -1, -1), stacked), boxes=None, masks=None
        )
        logits, quality = self._model.mask_decoder(
            image_embeddings=embedding.unsqueeze(0),
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        masks = self._model.postprocess_masks(logits, resized, size) > self._model.mask_threshold
        return {
            area: AreaMask(
                mask=masks[a, 0].cpu().numpy(),
                score=float(quality[a, 0].clamp(0.0, 1.0)),
            )
            for a, area in enumerate(labels)
        }

    def _to_tensor(self, image: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(image, device=self._device).permute(2, 0, 1).contiguous()


def build_sam(sam_type: str) -> Sam:
    """Build the given architecture, whose state dict has the published layout, without weights."""
    # The registry's own `checkpoint=` unpickles; `vills.lse.parts` loads the file without.
    model: Sam = sam_model_registry[sam_type](checkpoint=None)
    return model
