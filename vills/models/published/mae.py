"""MAE (He et al. 2022): encoder and decoder under `model`, fixed sine and cosine positions.

A model fine-tuned with global pooling has `fc_norm` in place of `norm`: it norms the mean of the
patches, as the encoder's norm does with each token.
"""

from vills.models.published.layout import Layout, State


def _convert(state: State) -> State:
    if {"norm.weight", "norm.bias"} & state.keys():
        return state
    pooled = ("fc_norm.weight", "fc_norm.bias")
    return {n.removeprefix("fc_") if n in pooled else n: t for n, t in state.items()}


MAE = Layout(
    "mae",
    source="facebookresearch/mae",
    dropped=r"decoder_|mask_token$|head\.",
    convert=_convert,
)
