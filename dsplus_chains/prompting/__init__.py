"""What the large model is asked, and how its answer is read."""
