"""Curation: raw images and videos to records of people (paper section 4.1)."""
