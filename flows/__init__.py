"""Prefect flows: order and fan-out. No arithmetic, no task runner, no paths: `deploy` decides where they run."""
