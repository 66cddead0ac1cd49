"""Predictors on embeddings, with the loss of both directions."""
