"""Texts as vectors. The only room that imports sentence-transformers and faiss."""
