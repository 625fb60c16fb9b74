"""Prefect tasks: one expression each, around a function of the core.

They pass addresses and small receipts, never arrays. There are no helpers here: a decorated task travels to a Dask
worker by value, what is defined beside it does not, and a worker may have nothing but the core installed. Nothing is
cached by Prefect: the archive says what is done.
"""
