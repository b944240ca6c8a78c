"""Texts → vectors: rows without padding through an encoder, and what stands behind it."""
