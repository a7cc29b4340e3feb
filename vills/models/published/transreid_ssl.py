"""TransReID-SSL (Luo et al. 2021): DINO on persons, 256x128 px.

Its release with ICS, a stem of convolutions with instance and batch norm before the patches, is no
plain ViT and is refused. Pre-trained with ImageNet's normalisation, but fine-tuned by its authors
with mean and deviation 0.5 (as PASS), which is followed here.
"""

from vills.models.published.layout import OWN, PERSON, SQUARE, Layout

TRANSREID_SSL = Layout(
    "transreid_ssl",
    source="damo-cv/TransReID-SSL",
    grids=(OWN, PERSON, SQUARE),
    normalisation="half",
)
