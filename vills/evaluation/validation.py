"""Query and gallery of held-out training people, as each protocol would have them.

Every record asks and is searched: what has the person in the same camera is junk, the record itself
with it, so that a person must be found in other cameras. Protocols that choose by camera (PRCC,
PRID2011) find both sides apart. Where cameras need not be known, a record of an unknown one has a
camera of its own, and only itself for junk. MARS asks with one tracklet per person and camera, as
its release does, and says by protocol whether the others alone are searched. The gallery has no
strangers and few people: these are not the scores of a test split.
"""

import numpy as np
import pyarrow as pa

from vills.config.protocols import get_data_set
from vills.data.records import SCHEMA, Manifest
from vills.data.reid import ReidData
from vills.evaluation.entries import Entries
from vills.evaluation.protocols import Protocol, TestData
from vills.evaluation.protocols.retrieval import RetrievalProtocol


def build_val_data(data: ReidData, *, protocol: Protocol) -> TestData:
    """What `protocol` sees of the people who are held out of `data`."""
    assert data.val is not None
    manifest = data.val
    if get_data_set(protocol.name) == "mars":
        views = np.stack([manifest.column("pid"), manifest.column("camid")], axis=1)
        _, first = np.unique(views, axis=0, return_index=True)
        others = np.setdiff1d(np.arange(len(manifest)), first)
        query, gallery = (manifest.take(rows) for rows in (np.sort(first), others))
        return TestData(Entries(query, data.reader), Entries(gallery, data.reader))
    if isinstance(protocol, RetrievalProtocol) and not protocol.needs_cameras:
        manifest = _tell_apart(manifest)
    records = Entries(manifest, data.reader)
    return TestData(records, records)


def _tell_apart(manifest: Manifest) -> Manifest:
    """The manifest with a camera of its own for each record of an unknown one."""
    camids = manifest.column("camid")
    own = camids.max(initial=-1) + 1 + np.arange(len(camids))
    column = pa.array(np.where(camids < 0, own, camids), SCHEMA.field("camid").type)
    place = SCHEMA.get_field_index("camid")
    return Manifest(manifest.table.set_column(place, SCHEMA.field("camid"), column))
