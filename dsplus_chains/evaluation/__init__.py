"""What a chain is worth on a test split: `evaluate`, money and tokens (`costs`), and the written report (`report`)."""
