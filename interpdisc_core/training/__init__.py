"""Training an inverter: assign images to splits, prepare examples, train epoch by epoch, score, export a checkpoint.

May import `pipeline`, `reporting`, `explanations`, `archive` and what lies below them. Owns `training/` and `examples/`
of an archive, see `interpdisc_core.training.dataset`.
"""
