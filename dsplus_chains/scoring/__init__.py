"""Small models: an input becomes a prediction with a confidence."""
