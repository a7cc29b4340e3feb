"""Local Semantic Extraction (paper section 3.1): keypoints -> prompts -> area masks, cached once.

`keypoints` holds K (eq. 1) and v^a (eq. 2, 4), `segmenter` M (eq. 3), and `extract` applies them
to every record of a source, so that training only reads masks.
"""
