"""Files of the container image, and what builds it."""
